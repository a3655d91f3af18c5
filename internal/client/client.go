// Package client calls the HTTP API of a running engine, for the command line
// and the demo.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Client calls one engine. It is safe for concurrent use.
type Client struct {
	server, token string
	http          *http.Client
}

// New makes a client of the engine at an address such as
// http://127.0.0.1:8080, with an API token.
func New(server, token string) *Client {
	return &Client{server: strings.TrimSuffix(server, "/"), token: token, http: &http.Client{Timeout: 30 * time.Second}}
}

// Inside makes a client of an engine in this process, whose requests a transport
// answers; whose they are, their contexts say.
func Inside(transport http.RoundTripper) *Client {
	return &Client{server: "http://inside", http: &http.Client{Transport: transport}}
}

// ReadToken reads a token from a file that holds nothing else.
func ReadToken(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return token, nil
}

// Problem is an error document of the API.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	} `json:"errors"`
}

// Error implements error.
func (p *Problem) Error() string {
	text := p.Title
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	for _, e := range p.Errors {
		if e.Message != p.Detail {
			text += "\n  " + e.Location + ": " + e.Message
		}
	}
	return text
}

// Get reads the answer of a GET into out.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	return c.do(ctx, http.MethodGet, path, nil, out)
}

// Post sends a body, unless it is nil, and reads the answer into out.
func (c *Client) Post(ctx context.Context, path string, body, out any) error {
	return c.do(ctx, http.MethodPost, path, body, out)
}

// Text sends a body, and gives the answer as it is.
func (c *Client) Text(ctx context.Context, path string, body any) (string, error) {
	var text text
	err := c.do(ctx, http.MethodPost, path, body, &text)
	return string(text), err
}

// text is an answer that is no JSON.
type text string

// Put puts a body in the place of what is there.
func (c *Client) Put(ctx context.Context, path string, body any) error {
	return c.do(ctx, http.MethodPut, path, body, nil)
}

// Patch changes what is there by a body.
func (c *Client) Patch(ctx context.Context, path string, body any) error {
	return c.do(ctx, http.MethodPatch, path, body, nil)
}

// Upload puts a body that is no JSON in the place of what is there, and reads the
// answer into out.
func (c *Client) Upload(ctx context.Context, path, contentType string, body []byte, out any) error {
	return c.send(ctx, http.MethodPut, path, contentType, bytes.NewReader(body), out)
}

// Delete takes something away.
func (c *Client) Delete(ctx context.Context, path string) error {
	return c.do(ctx, http.MethodDelete, path, nil, nil)
}

// List reads a list to its end; the answer is an array.
func (c *Client) List(ctx context.Context, path string) (json.RawMessage, error) {
	all, _, err := c.First(ctx, path, math.MaxInt)
	return all, err
}

// pageSize is how much of a list the API gives at once, at most.
const pageSize = 1000

// First reads the first n items of a list; the answer is an array. more says
// whether there are others.
func (c *Client) First(ctx context.Context, path string, n int) (items json.RawMessage, more bool, err error) {
	list, mark := []json.RawMessage{}, "?"
	if strings.Contains(path, "?") {
		mark = "&"
	}
	after := ""
	for more = true; more && len(list) < n; {
		var page struct {
			Items []json.RawMessage `json:"items"`
			Next  *string           `json:"next"`
		}
		limit := min(n-len(list), pageSize)
		if err := c.Get(ctx, fmt.Sprintf("%s%slimit=%d&after=%s", path, mark, limit, url.QueryEscape(after)), &page); err != nil {
			return nil, false, err
		}
		list = append(list, page.Items...)
		if more = page.Next != nil; more {
			after = *page.Next
		}
	}
	items, err = json.Marshal(list)
	return items, more, err
}

// do sends a request, and leaves the answer where there is no out. What the API refuses is a *Problem.
func (c *Client) do(ctx context.Context, method, path string, body, out any) error {
	var payload io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(text)
	}
	return c.send(ctx, method, path, "application/json", payload, out)
}

func (c *Client) send(ctx context.Context, method, path, contentType string, payload io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.server+path, payload)
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	req.Header.Set("Content-Type", contentType)
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("is the engine running at %s? %w", c.server, err)
	}
	defer func() { _ = res.Body.Close() }() // what was wanted of it has been read
	if res.StatusCode >= 400 {
		return refusal(res)
	}
	if out == nil {
		return nil
	}
	if whole, ok := out.(*text); ok {
		answer, err := io.ReadAll(res.Body)
		*whole = text(answer)
		return err
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// Satellite is what the core says of a satellite whose token was made.
type Satellite struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Token string `json:"token"`
}

// NewSatellite is what a satellite is made with.
type NewSatellite struct {
	Name      string `json:"name"`
	Region    string `json:"region,omitempty"`
	Threshold string `json:"offline_threshold,omitempty"` // a duration; "": the default
}

// SatelliteToken makes a token for a satellite, which is created where none of
// that name exists.
// The one from before ends after the grace, a duration; "": at once.
func (c *Client) SatelliteToken(ctx context.Context, n NewSatellite, grace string) (Satellite, error) {
	var s Satellite
	err := c.Post(ctx, "/api/v1/satellites", n, &s)
	var refused *Problem
	if errors.As(err, &refused) && refused.Status == http.StatusConflict {
		err = c.Post(ctx, "/api/v1/satellites/"+url.PathEscape(n.Name)+"/token", map[string]string{"grace": grace}, &s)
	}
	return s, err
}

// Message is one entry of a log that is followed.
type Message struct {
	Topic string // transition, event, decision or run
	Data  json.RawMessage
}

// reconnectAfter is how long Follow waits before it asks again.
const reconnectAfter = time.Second

// Follow hands on what happens from now on, until ctx ends or each fails. Where
// the connection breaks off it goes on from there, so that nothing is missed and
// nothing comes twice. What the API refuses is a *Problem.
func (c *Client) Follow(ctx context.Context, query url.Values, each func(Message) error) error {
	last := ""
	for {
		err := c.follow(ctx, query, &last, each)
		var refused *Problem
		switch stop, ok := err.(stopped); {
		case ok:
			return stop.error
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &refused) && refused.Status < http.StatusInternalServerError:
			return err
		case err != nil && last == "":
			return err // it never was there
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectAfter):
		}
	}
}

// stopped is an error of who is told, and no reason to ask again.
type stopped struct{ error }

func (c *Client) follow(ctx context.Context, query url.Values, last *string, each func(Message) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+"/api/v1/stream?"+query.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	if *last != "" {
		req.Header.Set("Last-Event-ID", *last)
	}
	res, err := c.endless(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // what was wanted of it has been read
	lines := bufio.NewReader(res.Body)
	var m Message
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil // it broke off, or the engine stops
		}
		field, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		switch field {
		case "event":
			m.Topic = value
		case "id":
			*last = value
		case "data":
			m.Data = json.RawMessage(value)
		case "":
			if m.Topic != "" && m.Topic != "ready" {
				if err := each(m); err != nil {
					return stopped{err}
				}
			}
			m = Message{}
		}
	}
}

func refusal(res *http.Response) error {
	refused := &Problem{Status: res.StatusCode, Title: res.Status}
	if json.NewDecoder(res.Body).Decode(refused) != nil {
		refused.Detail = "the answer is no problem document"
	}
	return refused
}

// Download copies an answer that is no JSON to w, however long it is.
func (c *Client) Download(ctx context.Context, path string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := c.endless(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // what was wanted of it has been read
	_, err = io.Copy(w, res.Body)
	return err
}

// endless sends a request whose answer may take as long as it likes.
func (c *Client) endless(req *http.Request) (*http.Response, error) {
	req.Header.Set("Authorization", "Bearer "+c.token)
	patient := http.Client{Transport: c.http.Transport}
	res, err := patient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("is the engine running at %s? %w", c.server, err)
	}
	if res.StatusCode >= 400 {
		return nil, errors.Join(refusal(res), res.Body.Close())
	}
	return res, nil
}

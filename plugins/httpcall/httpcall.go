// Package httpcall is the plugin with the action `http`: one HTTP request, with
// an idempotency key that stays the same across retries and restarts, so that
// a receiver can tell a repetition from a second request.
package httpcall

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/plugins"
)

const (
	// maxBody bounds how much of an answer is read.
	maxBody = 1 << 20
	// defaultTimeout bounds a request whose step has no timeout.
	defaultTimeout = 30 * time.Second
)

// Config is what a step says under `http:`.
type Config struct {
	Method  string            `json:"method,omitempty" doc:"GET unless there is a body, then POST."`
	URL     string            `json:"url" doc:"http:// or https://"`
	Headers map[string]string `json:"headers,omitempty"`
	Query   map[string]string `json:"query,omitempty" doc:"Added to the query of the URL."`
	JSON    any               `json:"json,omitempty" doc:"The body, sent as JSON."`
	Body    string            `json:"body,omitempty" doc:"The body as text."`
	Expect  []any             `json:"expect,omitempty" doc:"Statuses that are a success, such as 200 or 200..299, which is the default."`
}

// Output is what the step gives.
type Output struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers" doc:"By lower-case name; the first value of each."`
	Body    any               `json:"body" doc:"Decoded where it is JSON, else text."`
}

// Plugin brings the action `http`.
type Plugin struct{ client *http.Client }

// New makes the plugin.
func New() *Plugin {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	return &Plugin{client: &http.Client{Transport: transport}}
}

// Name implements plugins.Plugin.
func (*Plugin) Name() string { return "httpcall" }

// Register implements plugins.Plugin.
func (p *Plugin) Register(h *plugins.Host) error {
	return action.Register(h.Actions(), action.Spec[Config, Output]{
		Name: "http", Doc: "Sends one HTTP request.", Check: check, Run: p.run,
	})
}

// Close implements plugins.Closer.
func (p *Plugin) Close(context.Context) error {
	p.client.CloseIdleConnections()
	return nil
}

func check(c Config) error {
	u, err := url.Parse(c.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("url %q is not an http:// or https:// address", c.URL)
	}
	if c.JSON != nil && c.Body != "" {
		return errors.New("json and body exclude each other")
	}
	_, err = expected(c.Expect, 0)
	return err
}

func (p *Plugin) run(ctx context.Context, call action.Call, c Config) (Output, error) {
	if err := check(c); err != nil {
		return Output{}, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultTimeout)
		defer cancel()
	}
	req, err := request(ctx, call, c)
	if err != nil {
		return Output{}, err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return Output{}, err
	}
	defer func() { _ = res.Body.Close() }() // what was wanted of it has been read
	out, err := output(res)
	if err != nil {
		return Output{}, err
	}
	if ok, err := expected(c.Expect, res.StatusCode); err != nil || !ok {
		return Output{}, errors.Join(err, fmt.Errorf("%s %s answered %s", req.Method, req.URL.Redacted(), res.Status))
	}
	return out, nil
}

func request(ctx context.Context, call action.Call, c Config) (*http.Request, error) {
	var body io.Reader
	method, contentType := http.MethodGet, ""
	switch {
	case c.JSON != nil:
		text, err := json.Marshal(c.JSON)
		if err != nil {
			return nil, err
		}
		body, method, contentType = bytes.NewReader(text), http.MethodPost, "application/json"
	case c.Body != "":
		body, method, contentType = strings.NewReader(c.Body), http.MethodPost, "text/plain; charset=utf-8"
	}
	if c.Method != "" {
		method = strings.ToUpper(c.Method)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL, body)
	if err != nil {
		return nil, err
	}
	query := req.URL.Query()
	for name, value := range c.Query {
		query.Set(name, value)
	}
	req.URL.RawQuery = query.Encode()
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("User-Agent", "flightrules")
	req.Header.Set("Idempotency-Key", call.IdempotencyKey)
	for name, value := range c.Headers {
		req.Header.Set(name, value)
	}
	return req, nil
}

func output(res *http.Response) (Output, error) {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return Output{}, fmt.Errorf("read the answer: %w", err)
	}
	if len(text) > maxBody {
		return Output{}, fmt.Errorf("the answer is longer than %d bytes", maxBody)
	}
	out := Output{Status: res.StatusCode, Headers: map[string]string{}, Body: string(text)}
	for name := range res.Header {
		out.Headers[strings.ToLower(name)] = res.Header.Get(name)
	}
	if strings.Contains(res.Header.Get("Content-Type"), "json") {
		var v any
		if json.Unmarshal(text, &v) == nil {
			out.Body = v
		}
	}
	return out, nil
}

// expected says whether a status is among those of expect.
func expected(expect []any, status int) (bool, error) {
	if len(expect) == 0 {
		return status >= 200 && status <= 299, nil
	}
	found := false
	for _, one := range expect {
		text := fmt.Sprint(one)
		from, to, isRange := strings.Cut(text, "..")
		if !isRange {
			to = from
		}
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || first < 100 || last > 599 || first > last {
			return false, fmt.Errorf("expect: %q is neither a status nor a range such as 200..299", text)
		}
		found = found || status >= first && status <= last
	}
	return found, nil
}

// Package httpcall is the plugin with the action `http`: one HTTP request, with
// an idempotency key that stays the same across retries and restarts, so that
// a receiver can tell a repetition from a second request. The section `http`
// says how hosts are reached, and which addresses are never.
package httpcall

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/plugins"
)

// defaultTimeout bounds a request whose step has no timeout.
const defaultTimeout = 30 * time.Second

// Config is what a step says under `http:`.
type Config struct {
	Method    string            `json:"method,omitempty" doc:"GET unless there is a body, then POST."`
	URL       string            `json:"url" doc:"http:// or https://"`
	Headers   map[string]string `json:"headers,omitempty" secret:"true" doc:"May hold ${{ secrets.NAME }}, as may query, json and body."`
	Query     map[string]string `json:"query,omitempty" secret:"true" doc:"Added to the query of the URL."`
	JSON      any               `json:"json,omitempty" secret:"true" doc:"The body, sent as JSON."`
	Body      string            `json:"body,omitempty" secret:"true" doc:"The body as text."`
	Expect    []any             `json:"expect,omitempty" doc:"Statuses that are a success, such as 200 or 200..299, which is the default."`
	Redirects *int              `json:"redirects,omitempty" doc:"How many are followed, 10 at most. Default: 5 for GET and HEAD, else none. Another host gets neither the headers nor the body."`
	MaxBody   int               `json:"max_body,omitempty" doc:"How many bytes an answer may have: 1048576 (1 MiB) unless said otherwise, 16777216 at most."`
	Decode    string            `json:"decode,omitempty" enum:"auto,json,text,base64" doc:"What becomes of the answer. auto, the default: decoded where it says that it is JSON, else text. json: it must be JSON. base64: for what is no text."`
}

// Output is what the step gives.
type Output struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers" doc:"By lower-case name; the first value of each."`
	Body    any               `json:"body" doc:"As decode says."`
}

// Plugin brings the action `http` and the section `http`.
type Plugin struct {
	host  *plugins.Host
	hosts atomic.Pointer[hosts]
	slots slots
}

// New makes the plugin.
func New() *Plugin { return &Plugin{} }

// Name implements plugins.Plugin.
func (*Plugin) Name() string { return "httpcall" }

// Register implements plugins.Plugin.
func (p *Plugin) Register(h *plugins.Host) error {
	p.host = h
	p.hosts.Store(p.compile(nil))
	return errors.Join(
		action.Register(h.Actions(), action.Spec[Config, Output]{
			Name: "http", Doc: "Sends one HTTP request.", Check: check, Run: p.run, Answer: simulated,
		}),
		plugins.AddSection(h, plugins.SectionSpec[Host]{
			Name: "http", Doc: "How the action http reaches hosts.",
			Key: func(h Host) string { return h.Host }, Check: p.checkHost, Apply: p.apply,
		}),
	)
}

// Close implements plugins.Closer.
func (p *Plugin) Close(context.Context) error {
	p.hosts.Load().close()
	return nil
}

func check(c Config) error {
	if u, err := url.Parse(c.URL); err != nil || !isHTTP(u) {
		return errors.New("url is not an http:// or https:// address")
	}
	if c.JSON != nil && c.Body != "" {
		return errors.New("json and body exclude each other")
	}
	if c.Redirects != nil && (*c.Redirects < 0 || *c.Redirects > mostRedirects) {
		return fmt.Errorf("redirects must be 0 to %d", mostRedirects)
	}
	if c.MaxBody < 0 || c.MaxBody > mostBody {
		return fmt.Errorf("max_body must be 1 to %d", mostBody)
	}
	if err := checkDecode(c.Decode); err != nil {
		return err
	}
	_, err := expected(c.Expect, 0)
	return err
}

func isHTTP(u *url.URL) bool { return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" }

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
	end, err := p.begin(req.URL)
	if err != nil {
		return Output{}, err
	}
	defer end()
	res, err := p.send(req, c)
	if err != nil {
		return Output{}, err
	}
	defer func() { _ = res.Body.Close() }() // what was wanted of it has been read
	return answer(req, res, c)
}

// send sends a request. Its errors do not tell the query, which may hold
// secrets, nor the name and password of a URL.
func (p *Plugin) send(req *http.Request, c Config) (*http.Response, error) {
	client := http.Client{Transport: p.hosts.Load(), CheckRedirect: redirects(req, c.Redirects)}
	res, err := client.Do(req)
	if err == nil {
		return res, nil
	}
	where := shown(req.URL)
	if inside := (*url.Error)(nil); errors.As(err, &inside) {
		if at, bad := url.Parse(inside.URL); bad == nil && shown(at) != where {
			where += ", redirected to " + shown(at)
		}
		err = inside.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s %s: there was no answer in time: %w", req.Method, where, err)
	}
	return nil, fmt.Errorf("%s %s: %w", req.Method, where, err)
}

// shown is what of a URL may be told to everybody.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

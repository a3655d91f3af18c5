package httpcall

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/flightrules/flightrules/engine/action"
)

// request is the first request of a step; redirects may lead to more.
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
		if strings.EqualFold(name, "Host") {
			req.Host = value // net/http passes over the header
			continue
		}
		req.Header.Set(name, value)
	}
	return req, nil
}

const (
	// mostRedirects is how many a step may allow, as browsers and net/http do.
	mostRedirects = 10
	// defaultRedirects is for requests that change nothing. Others are not sent
	// on without being asked to: a POST that was redirected by 301 arrives as a
	// GET, is answered by 200, and has done nothing.
	defaultRedirects = 5
)

// kept are the headers that another host gets.
var kept = []string{"Accept", "Accept-Language", "User-Agent"}

// redirects is what is done about those that the answers to a request ask for.
// Any of its headers and its body may hold credentials, and not only those that
// net/http knows: none goes to another host, also when that sends it back.
func redirects(first *http.Request, most *int) func(req *http.Request, via []*http.Request) error {
	limit := 0
	switch {
	case most != nil:
		limit = *most
	case first.Method == http.MethodGet || first.Method == http.MethodHead:
		limit = defaultRedirects
	}
	left := false
	return func(req *http.Request, via []*http.Request) error {
		if limit == 0 {
			return http.ErrUseLastResponse // and the step says whether it expected that
		}
		if len(via) > limit {
			return fmt.Errorf("there are more than %d redirects", limit)
		}
		if !isHTTP(req.URL) {
			return fmt.Errorf("the redirect to %s is not followed: it is not http or https", shown(req.URL))
		}
		left = left || req.URL.Scheme != first.URL.Scheme || req.URL.Host != first.URL.Host
		if !left {
			return nil
		}
		if req.Body != nil {
			return fmt.Errorf("the redirect to %s is not followed: the request has a body, which is for nobody else", shown(req.URL))
		}
		for name := range req.Header {
			if !oneOf(kept, name) {
				delete(req.Header, name) // also Referer, in which the query is
			}
		}
		return nil
	}
}

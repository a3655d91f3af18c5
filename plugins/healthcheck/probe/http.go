package probe

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flightrules/flightrules/internal/duration"
)

// HTTP asks a web server.
type HTTP struct {
	URL             string            `json:"url" doc:"http:// or https://"`
	Method          string            `json:"method,omitempty" enum:"GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS" doc:"Default: GET."`
	Headers         map[string]string `json:"headers,omitempty" doc:"${{ env.NAME }} in them is a secret of secret_env."`
	Body            string            `json:"body,omitempty" doc:"As headers."`
	Status          []int             `json:"status,omitempty" doc:"The answers that are up; default: 200 to 299."`
	FollowRedirects *bool             `json:"follow_redirects,omitempty" doc:"Default: true. With secrets in the headers or the body, only on the same host."`
	Insecure        bool              `json:"insecure_skip_verify,omitempty" doc:"Believe every certificate."`
}

// HTTPResult is what assertions see of an answer.
type HTTPResult struct {
	Status       int               `json:"status"`
	Headers      map[string]string `json:"headers" doc:"By lower-case name."`
	Body         string            `json:"body" doc:"The first 256 KiB."`
	JSON         any               `json:"json" doc:"The body, if it is JSON; else null."`
	Latency      duration.Text     `json:"latency"`
	TLSExpiresIn *duration.Text    `json:"tls_expires_in" doc:"How long the certificate lasts; null without TLS."`
}

const (
	maxBody      = 256 << 10
	maxRedirects = 10
)

func (h *HTTP) check() error {
	u, err := url.Parse(h.URL)
	switch {
	case err != nil:
		return fmt.Errorf("url: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("url: %q is not an address such as https://example.org/health", h.URL)
	case u.User != nil:
		return errors.New("url: a password does not belong into an address: use a header with ${{ env.NAME }}")
	}
	for name := range h.Headers {
		if name == "" || strings.ContainsAny(name, " \t\r\n:") {
			return fmt.Errorf("headers: %q is not the name of a header", name)
		}
	}
	for _, code := range h.Status {
		if code < 100 || code > 599 {
			return fmt.Errorf("status: %d is not a status of HTTP", code)
		}
	}
	return nil
}

func (h *HTTP) texts() []string {
	return append(slices.Collect(maps.Values(h.Headers)), h.Body)
}

func (*HTTP) result() any { return HTTPResult{} }

func (h *HTTP) look(ctx context.Context, e Environment) (finding, error) {
	var secrets map[string]string
	if asks(h.texts()...) {
		var err error
		if secrets, err = e.secrets(ctx); err != nil {
			return finding{}, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, h.Method, h.URL, strings.NewReader(fill(h.Body, secrets)))
	if err != nil {
		return finding{}, cannot("%w", err)
	}
	req.Header.Set("User-Agent", "flightrules-check")
	for name, value := range h.Headers {
		if strings.EqualFold(name, "host") {
			req.Host = fill(value, secrets)
			continue
		}
		req.Header.Set(name, fill(value, secrets))
	}
	client := h.client(len(secrets) > 0)
	defer client.CloseIdleConnections()
	began := time.Now()
	res, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the address, which the check has
		}
		return finding{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return finding{}, fmt.Errorf("status %d, but the body broke off: %w", res.StatusCode, err)
	}
	f := finding{latency: time.Since(began)}
	f.result = answered(res, body, f.latency)
	return f, h.expected(res.StatusCode)
}

func answered(res *http.Response, body []byte, latency time.Duration) HTTPResult {
	r := HTTPResult{Status: res.StatusCode, Headers: map[string]string{}, Latency: duration.Text(latency)}
	for name, values := range res.Header {
		r.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	if utf8.Valid(body) {
		r.Body = string(body)
		if err := json.Unmarshal(body, &r.JSON); err != nil {
			r.JSON = nil // it is none
		}
	}
	if res.TLS != nil && len(res.TLS.PeerCertificates) > 0 {
		left := duration.Text(time.Until(res.TLS.PeerCertificates[0].NotAfter))
		r.TLSExpiresIn = &left
	}
	return r
}

func (h *HTTP) expected(code int) error {
	switch {
	case len(h.Status) > 0 && !slices.Contains(h.Status, code):
		return fmt.Errorf("status %d, expected %s", code, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(h.Status)), ", "), "[]"))
	case len(h.Status) == 0 && (code < 200 || code > 299):
		return fmt.Errorf("status %d", code)
	}
	return nil
}

func (h *HTTP) client(secret bool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: h.Insecure},
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			switch {
			case h.FollowRedirects != nil && !*h.FollowRedirects, secret && req.URL.Host != via[0].URL.Host:
				return http.ErrUseLastResponse
			case len(via) >= maxRedirects:
				return fmt.Errorf("it redirects more than %d times", maxRedirects)
			}
			return nil
		},
	}
}

package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/gzhttp"
)

// routes is the mux as huma sees it: every operation is contained.
type routes struct{ *Server }

// HandleFunc implements humago.Mux.
func (r routes) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	r.mux.HandleFunc(pattern, r.contain(h))
}

// ServeHTTP implements humago.Mux.
func (r routes) ServeHTTP(w http.ResponseWriter, req *http.Request) { r.mux.ServeHTTP(w, req) }

// contain is around every handler of this package: it sets the headers that
// all answers have, refuses addresses that no row could hold, and turns a panic
// into a problem and a line in the log.
func (s *Server) contain(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		log := s.Log.With("method", r.Method, "path", r.URL.Path)
		r = r.WithContext(context.WithValue(r.Context(), logKey{}, log))
		out := &response{ResponseWriter: w, request: r}
		out.Header().Set("X-Content-Type-Options", "nosniff")
		out.Header().Set("Cache-Control", "private, no-cache")
		if !out.readOnly() {
			out.Header().Set("Cache-Control", "no-store")
		}
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			log.Error("a handler panicked", "panic", p, "stack", string(debug.Stack()))
			if out.begun && out.held == nil {
				// What was sent must not look like all of it.
				panic(http.ErrAbortHandler)
			}
			newProblem(http.StatusInternalServerError, "", "the engine could not do this; its log says why").write(w)
		}()
		if !storable(r.URL) {
			newProblem(http.StatusBadRequest, "", "the address is not UTF-8 text, or has control characters").write(out)
			return
		}
		h(out, r)
		out.finish()
	}
}

// mounted is around the handlers of plugins, which may take over the
// connection and so get the writer as it is.
func (s *Server) mounted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p != http.ErrAbortHandler {
				s.Log.Error("a handler panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			}
			panic(http.ErrAbortHandler)
		}()
		h.ServeHTTP(w, r)
	})
}

// storable says whether the database can hold what the address names:
// PostgreSQL takes neither a NUL nor what is not UTF-8.
func storable(u *url.URL) bool {
	texts := []string{u.Path}
	for name, values := range u.Query() {
		texts = append(append(texts, name), values...)
	}
	return !slices.ContainsFunc(texts, func(text string) bool {
		return !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl)
	})
}

// response holds the JSON of a GET back until it is whole, to give it an ETag
// and to leave it out where the client has it.
type response struct {
	http.ResponseWriter
	request *http.Request
	begun   bool
	held    *bytes.Buffer // nil: nothing is held back
}

func (w *response) readOnly() bool {
	return w.request.Method == http.MethodGet || w.request.Method == http.MethodHead
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if w.begun {
		return
	}
	w.begun = true
	if status == http.StatusOK && w.readOnly() && w.Header().Get("Content-Type") == "application/json" {
		w.held = &bytes.Buffer{}
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.held != nil {
		return w.held.Write(b)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// finish sends what was held back. A handler that knows better has set an ETag
// of its own; others get a weak one, from the hash of the body.
func (w *response) finish() {
	if w.held == nil {
		return
	}
	tag := w.Header().Get("ETag")
	if tag == "" {
		sum := sha256.Sum256(w.held.Bytes())
		tag = `W/"` + hex.EncodeToString(sum[:8]) + `"`
		w.Header().Set("ETag", tag)
	}
	if hasTag(w.request.Header.Values("If-None-Match"), tag) {
		w.Header().Del("Content-Type")
		w.ResponseWriter.WriteHeader(http.StatusNotModified)
		return
	}
	w.ResponseWriter.WriteHeader(http.StatusOK)
	_, _ = w.ResponseWriter.Write(w.held.Bytes()) // it fails only when the client is gone
}

// hasTag is the weak comparison of RFC 9110, section 8.8.3.2.
func hasTag(headers []string, tag string) bool {
	for _, header := range headers {
		for one := range strings.SplitSeq(header, ",") {
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
	}
	return false
}

// compressed has answers compressed that are worth it, for those who take it, but
// no streams, whose messages would wait, and no connections that become others. A
// little noise keeps the length of a page from telling what secrets are in it.
func compressed(h http.Handler) http.Handler {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(1400), gzhttp.EnableZstd(false), gzhttp.RandomJitter(32, 0, false), gzhttp.ContentTypes([]string{
		"application/json", "application/problem+json", "application/x-ndjson", "text/csv", "text/html", "text/css", "text/javascript", "text/plain", "image/svg+xml",
	}))
	if err != nil {
		panic(fmt.Sprintf("httpapi: %v", err)) // the options are wrong
	}
	small := wrap(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			h.ServeHTTP(w, r)
			return
		}
		small.ServeHTTP(w, r)
	})
}

package httpapi

import (
	"bytes"
	"io"
	"net/http"
)

// Inside answers requests that are made inside the process, without a network:
// those of pages, whose context says who looks at them (WithCaller). They pass
// the same gates as all others. An answer is whole before it is given, so what
// has no end is not to be had by it.
func (s *Server) Inside() http.RoundTripper { return inside{s.mux} }

type inside struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inside) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr, _ = r.Context().Value(remoteKey{}).(string)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	out := &recorded{header: http.Header{}, status: http.StatusOK}
	t.handler.ServeHTTP(out, in)
	return &http.Response{
		Status: http.StatusText(out.status), StatusCode: out.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: out.header, Body: io.NopCloser(&out.body), ContentLength: int64(out.body.Len()), Request: r,
	}, nil
}

// recorded is an answer that is kept.
type recorded struct {
	header http.Header
	status int
	begun  bool
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *recorded) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *recorded) WriteHeader(status int) {
	if !w.begun {
		w.begun, w.status = true, status
	}
}

// Write implements http.ResponseWriter.
func (w *recorded) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

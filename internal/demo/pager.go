package demo

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// pager receives what the rule sends.
type pager struct {
	url    string
	server *http.Server
	served chan error

	mu    sync.Mutex
	pages []page
}

type page struct {
	key  string
	body []byte
}

func startPager() (*pager, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &pager{url: "http://" + listener.Addr().String() + "/pages", served: make(chan error, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /pages", p.receive)
	p.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { p.served <- p.server.Serve(listener) }()
	return p, nil
}

func (p *pager) receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	p.pages = append(p.pages, page{key: r.Header.Get("Idempotency-Key"), body: body})
	p.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
}

// received is the one page that must have come.
func (p *pager) received() (page, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pages) == 0 {
		return page{}, errors.New("the pager received nothing")
	}
	return p.pages[0], nil
}

func (p *pager) close() error {
	err := p.server.Close()
	if served := <-p.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

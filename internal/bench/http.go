package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/uptrace/bun"
	"golang.org/x/sync/errgroup"

	"github.com/flightrules/flightrules/internal/app"
	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/plugins"
)

const (
	// httpReaders ask at the same time, each for one page after the other.
	httpReaders = 4
	// httpWriters change meters meanwhile, where there is a load.
	httpWriters = 8
)

// paging is a measurement of what is asked by HTTP.
type paging struct {
	Options
	core   *served
	meters *meters
	client *http.Client
	token  string
	cookie string
}

// ask is something that readers ask for, each time with another number below n.
type ask struct {
	name    string
	path    func(n int) string
	against string // the ask that it is compared with; "": the same rows by SQL alone
	page    bool   // for people, with a session
}

var asks = []ask{
	{name: "log", path: func(int) string { return "/api/v1/transitions?limit=50" }},
	{name: "log-deep", path: func(n int) string {
		return fmt.Sprintf("/api/v1/transitions?limit=50&after=%d", 51+rand.IntN(max(n/2, 1)))
	}, against: "log"},
	{name: "entity", path: func(n int) string {
		return fmt.Sprintf("/api/v1/entities/meter/meter-%d/transitions?limit=50", rand.IntN(1000))
	}, against: "log"},
	{name: "entity-deep", path: func(n int) string {
		return fmt.Sprintf("/api/v1/entities/meter/meter-%d/transitions?limit=50&after=%d", rand.IntN(1000), max(n/4, 1))
	}, against: "entity"},
	{name: "overview", path: func(int) string { return "/" }, against: "log", page: true},
}

// pages measures what pages of history cost, near and deep, with nothing else
// going on and with changes that are written meanwhile.
func pages(ctx context.Context, o Options) (results []Result, err error) {
	r := &paging{Options: o, meters: &meters{}}
	name := fmt.Sprintf("http/%d", o.Log)
	o.tell(name, 0)
	database := "sqlite:" + filepath.Join(o.Dir, "http.db")
	// It ends now: what is old would be removed meanwhile.
	if err := writeLog(ctx, database, o.Log, time.Now().Add(-time.Duration(o.Log)*logStep)); err != nil {
		return nil, err
	}
	if err := r.start(ctx, database); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.core.stop()) }()
	for i, load := range []string{"quiet", "written"} {
		stop := func() (int, error) { return 0, nil }
		if load == "written" {
			stop = r.write(ctx)
		}
		list, err := r.all(ctx, name+"/"+load, float64(i)/2)
		changes, failed := stop()
		if err = errors.Join(err, failed); err != nil {
			return results, err
		}
		for i := range list {
			if load == "written" {
				list[i].Detail += fmt.Sprintf("; meanwhile %d writers made %d changes in all", httpWriters, changes)
			}
		}
		results = append(results, list...)
	}
	return results, nil
}

func (r *paging) start(ctx context.Context, database string) error {
	ctx, cancel := context.WithCancel(ctx)
	r.core = &served{cancel: cancel, ended: make(chan error, 1)}
	up := make(chan *app.Serving, 1)
	c := app.ServeConfig{
		Config: app.Config{DB: database, Node: "bench", Plugins: []plugins.Plugin{r.meters}},
		Data:   r.Dir, Listen: "127.0.0.1:0", Version: "bench", Started: func(s *app.Serving) { up <- s },
	}
	go func() { r.core.ended <- app.Serve(ctx, c) }()
	select {
	case r.core.Serving = <-up:
	case err := <-r.core.ended:
		cancel()
		r.core.ended <- nil
		return err
	}
	var err error
	if r.token, err = client.ReadToken(r.core.TokenFile); err != nil {
		return err
	}
	r.client = &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: httpReaders, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := r.client.PostForm(r.core.URL+"/login", url.Values{"token": {r.token}})
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	for _, c := range res.Cookies() {
		if c.Name == httpapi.SessionCookie {
			r.cookie = c.Name + "=" + c.Value
		}
	}
	if r.cookie == "" {
		return fmt.Errorf("the sign-in was answered with %s", res.Status)
	}
	return nil
}

// write changes meters until it is told to stop; then it says how often.
func (r *paging) write(ctx context.Context) (stop func() (int, error)) {
	ctx, cancel := context.WithCancel(ctx)
	group, running := errgroup.WithContext(ctx)
	var mu sync.Mutex
	changes := 0
	for w := range httpWriters {
		group.Go(func() error {
			for n := 0; running.Err() == nil; n++ {
				id := fmt.Sprintf("written-%d-%d", w, n%100)
				_, err := r.meters.handle.Mutate(running, id, func(context.Context, bun.Tx, *meter) (meter, error) {
					return meter{Status: "low", Value: float64(n), Unit: "celsius", Region: "eu-west-1"}, nil
				})
				if running.Err() != nil {
					return nil
				}
				if err != nil {
					return err
				}
				mu.Lock()
				changes++
				mu.Unlock()
			}
			return nil
		})
	}
	return func() (int, error) {
		cancel()
		err := group.Wait()
		return changes, err
	}
}

// all measures everything that is asked, in its order.
func (r *paging) all(ctx context.Context, name string, from float64) ([]Result, error) {
	raw, err := r.raw(ctx)
	if err != nil {
		return nil, err
	}
	per := map[string]float64{"": raw}
	var results []Result
	for i, a := range asks {
		result, err := r.measure(ctx, name+"/"+a.name, a, from+float64(i)/float64(2*len(asks)))
		if err != nil {
			return nil, err
		}
		per[a.name] = result.PerSecond
		result = result.against(per[a.against])
		result.Detail = fmt.Sprintf("%d readers ask for %s, one page after the other; ", httpReaders, strings.SplitN(a.path(r.Log), "&after", 2)[0])
		if a.against == "" {
			result.Detail += "the baseline reads the same rows with SQL, in the same number of goroutines, and does nothing with them"
		} else {
			result.Detail += "the baseline is " + a.against
		}
		results = append(results, result)
	}
	return results, nil
}

// measure has readers ask for as long as a measurement takes.
func (r *paging) measure(ctx context.Context, name string, a ask, part float64) (Result, error) {
	r.tell(name, part)
	resetPeak()
	var mu sync.Mutex
	var took []time.Duration
	begin := time.Now()
	group, running := errgroup.WithContext(ctx)
	for range httpReaders {
		group.Go(func() error {
			var own []time.Duration
			for time.Since(begin) < r.Length {
				t := time.Now()
				if err := r.get(running, a); err != nil {
					return err
				}
				own = append(own, time.Since(t))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
			return nil
		})
	}
	err := group.Wait()
	return result(name, took, time.Since(begin)), err
}

func (r *paging) get(ctx context.Context, a ask) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.core.URL+a.path(r.Log), http.NoBody)
	if err != nil {
		return err
	}
	if a.page {
		req.Header.Set("Cookie", r.cookie)
	} else {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s was answered with %s: %s", req.URL, res.Status, body)
	}
	if a.page {
		return nil
	}
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal(body, &list); err != nil || len(list.Items) == 0 {
		return fmt.Errorf("%s has %d items: %w", req.URL, len(list.Items), err)
	}
	return nil
}

// raw is how often a second the newest rows are read with SQL alone.
func (r *paging) raw(ctx context.Context) (float64, error) {
	length := r.Length / 5
	begin := time.Now()
	counts := make([]int, httpReaders)
	group, running := errgroup.WithContext(ctx)
	for i := range httpReaders {
		group.Go(func() error {
			for time.Since(begin) < length {
				rows, err := r.core.DB.Read().QueryContext(running, "SELECT seq, kind, entity_id, version, delta, next, actor, run_id, depth, at FROM transitions ORDER BY seq DESC LIMIT 51")
				if err != nil {
					return err
				}
				values, into := make([]any, 10), make([]any, 10)
				for i := range values {
					into[i] = &values[i]
				}
				for rows.Next() {
					if err := rows.Scan(into...); err != nil {
						return errors.Join(err, rows.Close())
					}
				}
				if err := errors.Join(rows.Err(), rows.Close()); err != nil {
					return err
				}
				counts[i]++
			}
			return nil
		})
	}
	err := group.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / time.Since(begin).Seconds(), err
}

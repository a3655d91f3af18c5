package httpcall_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/httpcall"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is the plugin with its action and its section.
type fixture struct {
	t       *testing.T
	action  action.Action
	set     *plugins.Set
	section plugins.Section
	log     bytes.Buffer // of the plugin, which writes from the test's goroutine alone
}

const theSecret = "s3cr3t-of-the-proxy"

// open brings up the plugin with the items of its section.
func open(t *testing.T, items ...map[string]any) *fixture {
	t.Helper()
	f := &fixture{t: t}
	actions := action.NewSet()
	plugin := httpcall.New()
	set, err := plugins.NewSet(plugins.Services{
		Actions: actions, Log: slog.New(slog.NewTextHandler(&f.log, nil)),
		Secret: func(_ context.Context, name, _ string) (string, error) {
			if name != "PROXY" {
				return "", fmt.Errorf("there is no secret %s", name)
			}
			return theSecret, nil
		},
	}, plugin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = set.Close(context.Background()) })
	f.action, _ = actions.Lookup("http")
	f.set, f.section = set, set.Sections()[0]
	if err := f.load(items...); err != nil {
		t.Fatal(err)
	}
	return f
}

// load checks items and puts them in force, as a load of files does.
func (f *fixture) load(items ...map[string]any) error {
	f.t.Helper()
	list, err := f.check(items...)
	if err != nil {
		return err
	}
	return f.set.Apply(map[string][]any{f.section.Name: list})
}

func (f *fixture) check(items ...map[string]any) ([]any, error) {
	var list []any
	for _, one := range items {
		if err := f.section.Item.Check(one); err != nil {
			return nil, err
		}
		item, err := f.section.Decode(one)
		if err != nil {
			return nil, err
		}
		if err := f.section.Check(item); err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, nil
}

// call runs the action.
func (f *fixture) call(config map[string]any) (map[string]any, error) {
	out, err := f.action.Run(f.t.Context(), action.Call{IdempotencyKey: "run/actions[0]/0"}, config)
	if err != nil {
		return nil, err
	}
	return out.(map[string]any), nil
}

// wantError wants an error that says something; "": none.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// recorder is a server that remembers its requests, and answers them like its
// routes.
type recorder struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

func record(t *testing.T, routes map[string]http.HandlerFunc) *recorder {
	t.Helper()
	r := &recorder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.seen = append(r.seen, req)
		r.mu.Unlock()
		if handle, ok := routes[req.URL.Path]; ok {
			handle(w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// requests are those since the last call.
func (r *recorder) requests() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

func to(status int, url string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", url)
		w.WriteHeader(status)
	}
}

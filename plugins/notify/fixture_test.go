package notify_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/notify"
)

// quiet is for servers whose handshakes fail on purpose.
var quiet = log.New(io.Discard, "", 0)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is the plugin with its action and its section.
type fixture struct {
	t       *testing.T
	action  action.Action
	set     *plugins.Set
	section plugins.Section
	secrets map[string]string
	log     bytes.Buffer
}

// open brings up the plugin with the items of its section.
func open(t *testing.T, items ...map[string]any) *fixture {
	t.Helper()
	f := &fixture{t: t, secrets: map[string]string{}}
	actions := action.NewSet()
	set, err := plugins.NewSet(plugins.Services{
		Actions: actions, Log: slog.New(slog.NewTextHandler(&f.log, nil)),
		Secret: func(_ context.Context, name, _ string) (string, error) {
			if value, ok := f.secrets[name]; ok {
				return value, nil
			}
			return "", fmt.Errorf("there is no secret %s", name)
		},
	}, notify.New())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = set.Close(context.Background())
		http.DefaultClient.CloseIdleConnections() // which the library uses
	})
	f.action, _ = actions.Lookup("notify")
	f.set, f.section = set, set.Sections()[0]
	if err := f.load(items...); err != nil {
		t.Fatal(err)
	}
	return f
}

// load checks items and puts them in force, as a load of files does.
func (f *fixture) load(items ...map[string]any) error {
	var list []any
	for _, one := range items {
		if err := f.section.Item.Check(one); err != nil {
			return err
		}
		item, err := f.section.Decode(one)
		if err != nil {
			return err
		}
		if err := f.section.Check(item); err != nil {
			return err
		}
		list = append(list, item)
	}
	return f.set.Apply(map[string][]any{f.section.Name: list})
}

// run runs the action as a step of that key, and gives what became of targets.
func (f *fixture) run(key string, config map[string]any) (map[string]any, error) {
	out, err := f.action.Run(f.t.Context(), action.Call{IdempotencyKey: key}, config)
	if err != nil {
		return nil, err
	}
	return out.(map[string]any)["targets"].(map[string]any), nil
}

func (f *fixture) tell(to any) error {
	_, err := f.run("", map[string]any{"to": to, "message": "hello"})
	return err
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

func target(name, url string) map[string]any { return map[string]any{"name": name, "url": url} }

// receiver is a server that remembers what it was told.
type receiver struct {
	*httptest.Server
	host   string
	mu     sync.Mutex
	seen   []message
	closed chan struct{} // as many as connections that have ended
}

type message struct {
	*http.Request
	body string
}

func receive(t *testing.T, handle http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{closed: make(chan struct{}, 10)}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.seen = append(r.seen, message{req, string(body)})
		r.mu.Unlock()
		if handle != nil {
			handle(w, req)
		}
	}))
	r.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			select {
			case r.closed <- struct{}{}:
			default:
			}
		}
	}
	r.Start()
	t.Cleanup(r.Close)
	r.host = r.Listener.Addr().String()
	return r
}

// messages are those since the last call.
func (r *receiver) messages() []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

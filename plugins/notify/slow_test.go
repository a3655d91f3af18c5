package notify_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine/action"
)

// waiting is a receiver that answers nobody before release is called.
func waiting(t *testing.T) (r *receiver, reached chan struct{}, release func()) {
	t.Helper()
	reached = make(chan struct{}, 1)
	let := make(chan struct{})
	r = receive(t, func(w http.ResponseWriter, req *http.Request) {
		select {
		case reached <- struct{}{}:
		default: // nobody waits for that
		}
		select {
		case <-let:
		case <-req.Context().Done():
		}
		_, _ = io.WriteString(w, "{}")
	})
	var once bool
	release = func() {
		if !once {
			once = true
			close(let)
		}
	}
	t.Cleanup(release)
	return r, reached, release
}

func TestBusyTargets(t *testing.T) {
	slow, reached, release := waiting(t)
	quick := receive(t, nil)
	item := target("slow", "generic+"+slow.URL)
	item["max_concurrent"] = 1
	f := open(t, item, target("quick", "generic+"+quick.URL))
	done := make(chan error)
	go func() { done <- f.tell("slow") }()
	<-reached
	for _, to := range []any{"slow", []any{"quick", "slow"}} {
		var later *action.Later
		if err := f.tell(to); !errors.As(err, &later) || later.After != time.Second || later.Reason != "1 deliveries to slow are under way" {
			t.Errorf("%v", err)
		}
	}
	if n := len(quick.messages()); n != 0 {
		t.Errorf("%d messages of a step that did not begin", n)
	}
	if err := f.tell("quick"); err != nil {
		t.Errorf("another target is held up: %v", err)
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := f.tell("slow"); err != nil {
		t.Errorf("a target that is free again: %v", err)
	}
}

func TestTargetsThatDoNotAnswer(t *testing.T) {
	for what, url := range map[string]string{
		"a webhook ends":                     "generic+http://",
		"a service of the library goes on":   "signal://",
		"one with its own transport goes on": "ntfy://",
	} {
		t.Run(what, func(t *testing.T) {
			slow, _, release := waiting(t)
			address := url + slow.host + "/+4912345678/+4912345679?disabletls=yes"
			switch {
			case strings.HasPrefix(url, "generic"):
				address = url + slow.host
			case strings.HasPrefix(url, "ntfy"):
				address = url + slow.host + "/topic?scheme=http"
			}
			item := target("slow", address)
			item["timeout"], item["max_concurrent"] = "50ms", 1
			f := open(t, item)
			for attempt, want := range []string{"slow: there was no answer within 50ms", "slow: 1 deliveries did not end in time, and have not ended since"} {
				if attempt == 1 && strings.HasPrefix(url, "generic") {
					continue
				}
				_, err := f.run("run/1", map[string]any{"to": "slow", "message": "hello"})
				wantError(t, err, want)
			}
			release()
			// When the late one has ended, its slot is free for another step; and what
			// it delivered is not delivered again.
			deliver := func(key string) map[string]any {
				t.Helper()
				for deadline := time.Now().Add(10 * time.Second); ; {
					out, err := f.run(key, map[string]any{"to": "slow", "message": "hello"})
					if err == nil {
						return out
					}
					if time.Now().After(deadline) {
						t.Fatal(err)
					}
				}
			}
			deliver("run/2")
			out := deliver("run/1") // the slot of the one before may take a moment
			if late := out["slow"] == "delivered earlier"; late == strings.HasPrefix(url, "generic") {
				t.Errorf("%v", out)
			}
		})
	}
}

func TestATargetThatIsDown(t *testing.T) {
	gone := receive(t, nil)
	gone.Close()
	f := open(t, target("gone", "generic+"+gone.URL), target("signal", "signal://"+gone.host+"/+491/+492?disabletls=yes"))
	for _, name := range []string{"gone", "signal"} {
		err := f.tell(name)
		wantError(t, err, "connection refused")
		wantError(t, err, name+": ")
	}
}

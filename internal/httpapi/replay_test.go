package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
)

const replayPath = "/api/v1/replay"

func TestReplay(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	var asked httpapi.ReplaySpec
	answer := func(err error) {
		f.replay = func(ctx context.Context, spec httpapi.ReplaySpec) ([]byte, error) {
			asked = spec
			if at, ok := ctx.Deadline(); !ok || time.Until(at) > time.Minute {
				t.Error("it may take as long as it likes")
			}
			if spec.Picture {
				return []byte("<svg/>"), err
			}
			return []byte(`{"rules":[]}`), err
		}
	}

	t.Run("the question is passed on", func(t *testing.T) {
		answer(nil)
		for body, want := range map[string]httpapi.ReplaySpec{
			`{}`: {},
			`{"files":{"a.yaml":"rules: []"},"rules":["a","b"],"since":"2026-01-01T00:00:00Z","until":"2026-02-01T00:00:00Z","whole":true}`: {
				Files: map[string]string{"a.yaml": "rules: []"}, Rules: []string{"a", "b"}, Whole: true,
				Since: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Until: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC),
			},
		} {
			a := f.as(plugins.Operator, "POST", replayPath, body).want(200)
			if diff := cmp.Diff(want, asked); diff != "" || a.Header().Get("Content-Type") != "application/json" || a.Body.String() != `{"rules":[]}` {
				t.Errorf("%s: %s %s", body, a.Body, diff)
			}
		}
	})

	t.Run("a picture", func(t *testing.T) {
		answer(nil)
		a := f.as(plugins.Operator, "POST", replayPath+"?format=svg", "{}").want(200)
		if a.Header().Get("Content-Type") != "image/svg+xml" || a.Body.String() != "<svg/>" {
			t.Errorf("%s: %s", a.Header(), a.Body)
		}
	})

	t.Run("why it could not be done is said", func(t *testing.T) {
		for _, c := range []struct {
			err    error
			status int
			code   string
			says   string
		}{
			{fmt.Errorf("%w: nobody", engine.ErrNoRule), 422, "unknown_rule", "nobody"},
			{&yamlx.Error{Problems: []yamlx.Problem{{File: "a.yaml", Line: 3, Column: 2, Message: "bad", Hint: "write well"}}}, 422, "invalid_rules", "a.yaml:3:2: bad"},
			{fmt.Errorf("read: %w", context.DeadlineExceeded), 504, "gateway_timeout", "longer than a minute"},
			{errors.New("the secret is 42"), 500, "internal_server_error", ""},
		} {
			answer(c.err)
			a := f.as(plugins.Operator, "POST", replayPath, "{}")
			a.problem(c.status, c.code)
			if !strings.Contains(a.Body.String(), c.says) || strings.Contains(a.Body.String(), "secret") {
				t.Errorf("%v: %s", c.err, a.Body)
			}
		}
	})

	t.Run("there is one at a time", func(t *testing.T) {
		began, end := make(chan struct{}), make(chan struct{})
		f.replay = func(context.Context, httpapi.ReplaySpec) ([]byte, error) {
			close(began)
			<-end
			return []byte("{}"), nil
		}
		first := make(chan int)
		go func() { first <- f.as(plugins.Operator, "POST", replayPath, "{}").Code }()
		<-began
		f.as(plugins.Operator, "POST", replayPath, "{}").problem(429, "too_many_requests")
		close(end)
		if code := <-first; code != http.StatusOK {
			t.Errorf("%d", code)
		}
		answer(nil)
		f.as(plugins.Operator, "POST", replayPath, "{}").want(200)
	})
}

package httpapi_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/plugins"
)

func TestSessions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		signIn := func(plain string) string {
			t.Helper()
			session, caller, err := f.server.SignIn(t.Context(), plain, "192.0.2.1:1")
			f.no(err)
			if caller.Actor != "token:"+caller.Name {
				t.Errorf("caller %+v", caller)
			}
			return session
		}
		get := func(session, method, target string) answer {
			t.Helper()
			return f.do(method, target, "", "Cookie", "theme=dark; "+httpapi.SessionCookie+"="+session)
		}

		t.Run("a session reads what its token may", func(t *testing.T) {
			session := signIn(" " + f.tokens[plugins.Viewer] + "\n")
			var me struct{ Name, Role string }
			get(session, "GET", "/api/v1/me").want(200).into(&me)
			if me.Name != "viewer" || me.Role != "viewer" {
				t.Errorf("me %+v", me)
			}
			get(session, "GET", "/metrics").want(200)
			get(session, "GET", "/api/v1/tokens").want(403)
		})
		t.Run("it writes nothing, whatever its token may", func(t *testing.T) {
			get(signIn(f.tokens[plugins.Admin]), "POST", "/api/v1/rules/page-when-lost/pause").want(401)
			get(signIn(f.tokens[plugins.Admin]), "POST", "/hooks/none").want(404)
		})
		t.Run("a bad token beside it is not made good", func(t *testing.T) {
			session := signIn(f.tokens[plugins.Viewer])
			f.do("GET", "/api/v1/me", "", "Cookie", httpapi.SessionCookie+"="+session, "Authorization", "Bearer frt_no").want(401)
		})
		t.Run("it ends with its token, by its time, and by signing out", func(t *testing.T) {
			plain, token, err := f.server.Tokens().Create(t.Context(), "ann", plugins.Viewer, time.Time{})
			f.no(err)
			byToken, bySignOut := signIn(plain), signIn(f.tokens[plugins.Viewer])
			short, _, err := f.server.Tokens().Create(t.Context(), "bob", plugins.Viewer, f.clock().Add(time.Hour))
			f.no(err)
			byEnd := signIn(short)
			f.no(f.server.Tokens().Revoke(t.Context(), token.ID))
			get(byToken, "GET", "/api/v1/me").want(401)
			f.no(f.server.Tokens().EndSession(t.Context(), bySignOut))
			get(bySignOut, "GET", "/api/v1/me").want(401)
			get(byEnd, "GET", "/api/v1/me").want(200)
			f.pass(time.Hour)
			get(byEnd, "GET", "/api/v1/me").want(401)
			late := signIn(f.tokens[plugins.Viewer])
			f.pass(httpapi.SessionLife)
			get(late, "GET", "/api/v1/me").want(401)
		})
		t.Run("who fails too often has to wait", func(t *testing.T) {
			for _, plain := range []string{"", "frt_no", f.tokens[httpapi.Hook]} {
				if _, _, err := f.server.SignIn(t.Context(), plain, "192.0.2.7:1"); !errors.Is(err, httpapi.ErrUnauthenticated) {
					t.Errorf("%q: %v", plain, err)
				}
			}
			var problem *httpapi.Problem
			for range 30 {
				if _, _, err := f.server.SignIn(t.Context(), "frt_no", "192.0.2.7:1"); errors.As(err, &problem) {
					break
				}
			}
			if problem == nil || problem.Status != http.StatusTooManyRequests {
				t.Errorf("problem %+v", problem)
			}
		})
		t.Run("a sign-in is in the audit", func(t *testing.T) {
			signIn(f.tokens[plugins.Operator])
			var list struct {
				Items []httpapi.AuditEntry
			}
			f.as(plugins.Admin, "GET", "/api/v1/audit?limit=1", "").want(200).into(&list)
			if len(list.Items) != 1 || list.Items[0].Path != "/login" || list.Items[0].Actor != "token:operator" || list.Items[0].Remote != "192.0.2.1:1" {
				t.Errorf("audit %+v", list.Items)
			}
		})
	})
}

func TestInside(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	client := &http.Client{Transport: f.server.Inside()}
	call := func(role plugins.Role, method, target string) int {
		t.Helper()
		ctx := httpapi.WithCaller(t.Context(), httpapi.Caller{Name: "ann", Role: role, Actor: "token:ann"}, "192.0.2.9:1")
		req, err := http.NewRequestWithContext(ctx, method, "http://inside"+target, nil)
		f.no(err)
		res, err := client.Do(req)
		f.no(err)
		return res.StatusCode
	}
	for _, c := range []struct {
		role           plugins.Role
		method, target string
		want           int
	}{
		{plugins.Viewer, "GET", "/api/v1/me", 200},
		{plugins.Viewer, "POST", "/api/v1/rules/page-when-lost/pause", 403},
		{plugins.Operator, "POST", "/api/v1/rules/page-when-lost/pause", 200},
		{plugins.Operator, "GET", "/nowhere", 404},
	} {
		if got := call(c.role, c.method, c.target); got != c.want {
			t.Errorf("%s %s as %s: %d, want %d", c.method, c.target, c.role, got, c.want)
		}
	}
	var list struct{ Items []httpapi.AuditEntry }
	f.as(plugins.Admin, "GET", "/api/v1/audit?limit=1", "").want(200).into(&list)
	if len(list.Items) != 1 || list.Items[0].Actor != "token:ann" || list.Items[0].Remote != "192.0.2.9:1" || *list.Items[0].Status != 200 {
		t.Errorf("audit %+v", list.Items)
	}
}

package httpapi_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/plugins"
)

func TestTokens(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		tokens := f.server.Tokens()

		t.Run("a token is 256 random bits under a prefix, and is nowhere in the database", func(t *testing.T) {
			plain, token, err := tokens.Create(t.Context(), "one", plugins.Operator, time.Time{})
			f.no(err)
			if !regexp.MustCompile(`^frt_[A-Za-z0-9_-]{43}$`).MatchString(plain) {
				t.Errorf("token %q", plain)
			}
			var hashes []string
			f.no(f.db.Read().NewSelect().Table("tokens").Column("hash").Where("id = ?", token.ID).Scan(t.Context(), &hashes))
			if len(hashes) != 1 || len(hashes[0]) != 64 || strings.Contains(hashes[0], plain[4:]) {
				t.Errorf("hashes %v", hashes)
			}
			got, err := tokens.Authenticate(t.Context(), plain)
			if err != nil || got.ID != token.ID || got.Name != "one" || got.Role != plugins.Operator {
				t.Errorf("authenticated %+v, %v", got, err)
			}
		})

		t.Run("a token ends at its end", func(t *testing.T) {
			plain, _, err := tokens.Create(t.Context(), "short", plugins.Viewer, f.clock().Add(time.Minute))
			f.no(err)
			f.pass(time.Minute - time.Microsecond)
			if _, err := tokens.Authenticate(t.Context(), plain); err != nil {
				t.Errorf("before the end: %v", err)
			}
			f.pass(time.Microsecond)
			if _, err := tokens.Authenticate(t.Context(), plain); !errors.Is(err, httpapi.ErrUnauthenticated) {
				t.Errorf("at the end: %v", err)
			}
		})

		t.Run("the use of a token is noted to the hour", func(t *testing.T) {
			plain, token, err := tokens.Create(t.Context(), "used", plugins.Viewer, time.Time{})
			f.no(err)
			used := func() time.Time {
				_, err := tokens.Authenticate(t.Context(), plain)
				f.no(err)
				list, err := tokens.List(t.Context(), "", 0)
				f.no(err)
				for _, one := range list {
					if one.ID == token.ID {
						return one.LastUsed
					}
				}
				return time.Time{}
			}
			first := f.clock()
			if got := used(); !got.Equal(first) {
				t.Errorf("used at %v, want %v", got, first)
			}
			f.pass(59 * time.Minute)
			if got := used(); !got.Equal(first) {
				t.Errorf("used at %v, want still %v", got, first)
			}
			f.pass(time.Minute)
			if got := used(); !got.Equal(f.clock()) {
				t.Errorf("used at %v, want %v", got, f.clock())
			}
		})

		for _, c := range []struct {
			name, token string
			role        plugins.Role
			expires     time.Time
			want        error
		}{
			{"a second token of one name is refused", "viewer", plugins.Viewer, time.Time{}, httpapi.ErrNameTaken},
			{"a name with a blank is refused", "a b", plugins.Viewer, time.Time{}, httpapi.ErrBadToken},
			{"no name is refused", "", plugins.Viewer, time.Time{}, httpapi.ErrBadToken},
			{"an unknown role is refused", "x", "king", time.Time{}, httpapi.ErrBadToken},
			{"an end in the past is refused", "x", plugins.Viewer, start, httpapi.ErrBadToken},
		} {
			t.Run(c.name, func(t *testing.T) {
				if _, _, err := tokens.Create(t.Context(), c.token, c.role, c.expires); !errors.Is(err, c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
			})
		}

		t.Run("tokens are made, listed and revoked over HTTP", func(t *testing.T) {
			var made struct{ ID, Name, Role, Token string }
			a := f.as(plugins.Admin, "POST", "/api/v1/tokens", `{"name":"deploy","role":"operator","expires_at":"2030-01-01T00:00:00Z"}`).want(201)
			if a.into(&made); a.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", a.Header())
			}
			if made.Name != "deploy" || made.Role != "operator" || made.ID == "" {
				t.Errorf("made %+v", made)
			}
			f.tokens["deploy"] = made.Token
			f.as("deploy", "GET", "/api/v1/fly", "").want(204)
			list := f.as(plugins.Admin, "GET", "/api/v1/tokens", "").want(200).Body.String()
			if !strings.Contains(list, `"name":"deploy"`) || !strings.Contains(list, `"expires_at":"2030-01-01T00:00:00Z"`) || strings.Contains(list, made.Token) || strings.Contains(list, "hash") {
				t.Errorf("list %s", list)
			}
			f.as(plugins.Admin, "DELETE", "/api/v1/tokens/"+made.ID, "").want(204)
			f.as("deploy", "GET", "/api/v1/fly", "").want(401)
			f.as(plugins.Admin, "DELETE", "/api/v1/tokens/"+made.ID, "").problem(404, "not_found")
			f.as(plugins.Admin, "POST", "/api/v1/tokens", `{"name":"admin","role":"viewer"}`).problem(409, "name_taken")
			f.as(plugins.Admin, "POST", "/api/v1/tokens", `{"name":"A B","role":"viewer"}`).problem(422, "invalid_token")
			f.as(plugins.Admin, "POST", "/api/v1/tokens", `{"name":"x","role":"king"}`).problem(422, "unprocessable_entity")
		})
	})
}

func TestFirstAdminToken(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		tokens := f.server.Tokens()
		path := filepath.Join(t.TempDir(), "admin.token")
		ensure := func(want bool) {
			t.Helper()
			created, err := tokens.EnsureAdmin(t.Context(), path)
			if err != nil || created != want {
				t.Fatalf("created %v, %v, want %v", created, err, want)
			}
		}
		content := func() string {
			t.Helper()
			b, err := os.ReadFile(path)
			f.no(err)
			return strings.TrimSpace(string(b))
		}
		revoke := func() {
			t.Helper()
			list, err := tokens.List(t.Context(), "", 0)
			f.no(err)
			for _, one := range list {
				if one.Role == plugins.Admin {
					f.no(tokens.Revoke(t.Context(), one.ID))
				}
			}
		}

		t.Run("where an admin can get in nothing is written", func(t *testing.T) {
			ensure(false)
			if _, err := os.Stat(path); !os.IsNotExist(err) {
				t.Errorf("stat: %v", err)
			}
		})

		t.Run("otherwise a token is written, for its owner alone, and works", func(t *testing.T) {
			revoke()
			ensure(true)
			info, err := os.Stat(path)
			f.no(err)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v", info.Mode())
			}
			token, err := tokens.Authenticate(t.Context(), content())
			if err != nil || token.Role != plugins.Admin || token.Name != "admin" {
				t.Errorf("token %+v, %v", token, err)
			}
		})

		t.Run("the next start leaves it", func(t *testing.T) {
			before := content()
			ensure(false)
			if content() != before {
				t.Error("the token was replaced")
			}
		})

		t.Run("a file that is gone is not written anew", func(t *testing.T) {
			f.no(os.Remove(path))
			ensure(false)
		})

		t.Run("a file whose token is none is replaced, and its mode with it", func(t *testing.T) {
			revoke()
			f.no(os.WriteFile(path, []byte("frt_old\n"), 0o644))
			ensure(true)
			if _, err := tokens.Authenticate(t.Context(), content()); err != nil {
				t.Error(err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
		})

		t.Run("admins that have all expired do not count, though their names are taken", func(t *testing.T) {
			revoke()
			_, _, err := tokens.Create(t.Context(), "admin", plugins.Admin, f.clock().Add(time.Minute))
			f.no(err)
			ensure(false)
			f.pass(time.Minute)
			ensure(true)
			if token, err := tokens.Authenticate(t.Context(), content()); err != nil || token.Name != "admin-2" {
				t.Errorf("token %+v, %v", token, err)
			}
		})

		t.Run("where the file cannot be written there is no token either", func(t *testing.T) {
			revoke()
			if _, err := tokens.EnsureAdmin(t.Context(), filepath.Join(t.TempDir(), "missing", "admin.token")); err == nil {
				t.Fatal("no error")
			}
			ensure(true)
		})

		t.Run("of many that start at once one makes it", func(t *testing.T) {
			for range 4 { // the first time they wait for their connections
				revoke()
				var wg sync.WaitGroup
				made := make([]bool, 8)
				for i := range made {
					wg.Go(func() {
						var err error
						if made[i], err = tokens.EnsureAdmin(t.Context(), path); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if n := len(slices.DeleteFunc(made, func(m bool) bool { return !m })); n != 1 {
					t.Errorf("%d were made, want 1", n)
				}
			}
		})
	})
}

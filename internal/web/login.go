package web

import (
	"errors"
	"net/http"
	"strings"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/internal/httpapi"
)

type login struct {
	Next, Error string
}

func (s *Site) loginForm(p *page) error {
	return p.show("login", view{Title: "Sign in", Data: login{Next: p.query("next")}})
}

func (s *Site) login(p *page) error {
	p.r.Body = http.MaxBytesReader(p.w, p.r.Body, 64<<10)
	next := p.r.PostFormValue("next")
	session, _, err := s.server.SignIn(p.ctx, p.r.PostFormValue("token"), p.r.RemoteAddr)
	problem, tooMany := errors.AsType[*httpapi.Problem](err)
	switch {
	case tooMany:
		p.w.Header().Set("Retry-After", problem.GetHeaders().Get("Retry-After"))
		return p.render(problem.Status, "login", view{Title: "Sign in", Data: login{Next: next, Error: "Too many attempts came from this address. Wait a little, and try again."}})
	case errors.Is(err, httpapi.ErrUnauthenticated):
		return p.render(http.StatusUnauthorized, "login", view{Title: "Sign in", Data: login{Next: next, Error: "No such token: it is unknown, was revoked, has expired, or may not look at pages."}})
	case err != nil:
		return err
	}
	http.SetCookie(p.w, p.cookie(session, int(httpapi.SessionLife.Seconds())))
	http.Redirect(p.w, p.r, local(next), http.StatusSeeOther)
	return nil
}

func (p *page) cookie(session string, age int) *http.Cookie {
	return &http.Cookie{
		Name: httpapi.SessionCookie, Value: session, Path: "/", MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: p.r.TLS != nil || p.r.Header.Get("X-Forwarded-Proto") == "https",
	}
}

// local keeps to addresses of this site: a link to the login page must not lead
// anywhere else.
func local(next string) string {
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

func (s *Site) logout(p *page) error {
	cookie, err := p.r.Cookie(httpapi.SessionCookie)
	if err != nil {
		return &client.Problem{Status: http.StatusBadRequest, Title: "Bad Request"}
	}
	if err := s.server.SignOut(p.ctx, cookie.Value, p.r.RemoteAddr); err != nil {
		return err
	}
	http.SetCookie(p.w, p.cookie("", -1))
	http.Redirect(p.w, p.r, "/login", http.StatusSeeOther)
	return nil
}

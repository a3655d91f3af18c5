// Package web is the screens: pages that are rendered on the server from what the
// API answers, so that whatever a page shows or does, the API can show and do too,
// with the same roles and the same audit.
package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/plugins"
)

// Site serves the pages.
type Site struct {
	server  *httpapi.Server
	version string
	api     *client.Client
	log     *slog.Logger
	now     func() time.Time
	origin  *http.CrossOriginProtection
}

// Mount adds the pages to a server.
func Mount(server *httpapi.Server) *Site {
	s := &Site{server: server, version: server.Version, api: client.Inside(server.Inside()), log: server.Log, now: server.Now, origin: http.NewCrossOriginProtection()}
	server.Page("GET /static/{file}", http.HandlerFunc(s.static))
	server.Page("GET /login", s.open(s.loginForm))
	server.Page("POST /login", s.origin.Handler(s.open(s.login)))
	server.Page("POST /logout", s.signedIn(s.logout))
	for pattern, show := range map[string]func(*page) error{
		"GET /{$}":                   s.overview,
		"GET /search":                s.search,
		"GET /entities":              s.kinds,
		"GET /entities/{kind}":       s.entities,
		"GET /entities/{kind}/{id}":  s.entity,
		"GET /transitions":           s.transitions,
		"GET /events":                s.events,
		"GET /events/{id}":           s.event,
		"GET /rules":                 s.rules,
		"GET /rules/{id}":            s.rule,
		"POST /rules/{id}/{verb}":    s.ruleVerb,
		"GET /runs":                  s.runs,
		"GET /runs/{id}":             s.run,
		"POST /runs/{id}/{verb}":     s.runVerb,
		"GET /satellites":            s.satellites,
		"GET /checks":                s.checks,
		"GET /checks/{id}":           s.check,
		"GET /silences":              s.silences,
		"POST /silences":             s.silence,
		"POST /silences/{id}/end":    s.unsilence,
		"GET /replay":                s.replayForm,
		"POST /replay":               s.replay,
		"GET /audit":                 s.audit,
		"GET /settings":              s.settings,
		"POST /settings/tokens":      s.newToken,
		"POST /settings/tokens/{id}": s.revokeToken,
	} {
		server.Page(pattern, s.signedIn(show))
	}
	server.Lost(s.signedIn(func(p *page) error {
		return &client.Problem{Status: http.StatusNotFound, Title: "Not Found", Detail: "There is no page at " + p.r.URL.Path + "."}
	}))
	return s
}

// page is a request for one page, and what is known of who makes it.
type page struct {
	site   *Site
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context
	caller httpapi.Caller
	csrf   string
}

// view is what a template is given.
type view struct {
	Title, Section string
	Caller         httpapi.Caller
	CSRF           string
	Live           string // the query of the stream that the page follows; "": none
	Here           string // the address of the page
	Done           string // what was done a moment ago
	Problem        *client.Problem
	Now            time.Time
	Version        string
	Data           any
}

// Operator says whether who looks may run, pause and silence.
func (v view) Operator() bool { return v.Caller.May(plugins.Operator) }

// Admin says whether who looks may do everything.
func (v view) Admin() bool { return v.Caller.May(plugins.Admin) }

// policy is the content security policy of all pages: nothing from elsewhere, and
// nothing inline.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// open is around pages that ask for no session.
func (s *Site) open(show func(*page) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "same-origin")
		w.Header().Set("Cache-Control", "no-store")
		p := &page{site: s, w: w, r: r, ctx: r.Context()}
		if err := show(p); err != nil {
			p.fail(err)
		}
	})
}

// signedIn is around all others: who has no session is sent to the login page,
// and a form has to bear the token of the session.
func (s *Site) signedIn(show func(*page) error) http.Handler {
	return s.origin.Handler(s.open(func(p *page) error {
		cookie, err := p.r.Cookie(httpapi.SessionCookie)
		if err != nil {
			return p.toLogin()
		}
		p.caller, err = s.server.Tokens().Session(p.ctx, cookie.Value)
		if errors.Is(err, httpapi.ErrUnauthenticated) {
			return p.toLogin()
		}
		if err != nil {
			return err
		}
		p.csrf = csrfOf(cookie.Value)
		p.ctx = httpapi.WithCaller(p.ctx, p.caller, p.r.RemoteAddr)
		if p.r.Method == http.MethodPost {
			p.r.Body = http.MaxBytesReader(p.w, p.r.Body, 1<<20)
			if subtle.ConstantTimeCompare([]byte(p.r.PostFormValue("csrf")), []byte(p.csrf)) != 1 {
				return &client.Problem{Status: http.StatusForbidden, Title: "Forbidden", Detail: "This form is not of your session: load the page again."}
			}
		}
		return show(p)
	}))
}

// csrfOf is the token of a session's forms. Who knows it does not know the session.
func csrfOf(session string) string {
	sum := sha256.Sum256([]byte("csrf " + session))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (p *page) toLogin() error {
	target := "/login"
	if p.r.Method == http.MethodGet && p.r.URL.Path != "/" {
		target += "?next=" + url.QueryEscape(p.r.URL.RequestURI())
	}
	http.Redirect(p.w, p.r, target, http.StatusSeeOther)
	return nil
}

// get asks the API in the name of who looks.
func (p *page) get(target string, out any) error { return p.site.api.Get(p.ctx, target, out) }

// post has the API do something in the name of who looks.
func (p *page) post(target string, body, out any) error {
	return p.site.api.Post(p.ctx, target, body, out)
}

// query is a value of the address, without what nobody would have meant.
func (p *page) query(name string) string { return strings.TrimSpace(p.r.URL.Query().Get(name)) }

// back answers a form that was done: the browser loads a page anew, which says so.
func (p *page) back(target, done string) error {
	mark := "?"
	if strings.Contains(target, "?") {
		mark = "&"
	}
	http.Redirect(p.w, p.r, target+mark+"done="+url.QueryEscape(done), http.StatusSeeOther)
	return nil
}

// done are the words for what a form did, by what the address says: a text of the
// address itself would be shown as ours.
var done = map[string]string{
	"paused": "The rule is paused: its matches are recorded and do not run.", "resumed": "The rule runs again.",
	"cancelled": "The run is asked to end.", "retried": "The run goes on from the step that failed.",
	"silenced": "The silence is set.", "unsilenced": "The silence has ended.", "revoked": "The token is revoked.", "started": "The rule runs.",
}

// show renders a page.
func (p *page) show(name string, v view) error { return p.render(http.StatusOK, name, v) }

func (p *page) render(status int, name string, v view) error {
	v.Caller, v.CSRF, v.Now, v.Here, v.Version = p.caller, p.csrf, p.site.now(), p.r.URL.Path, p.site.version
	if v.Done == "" {
		v.Done = done[p.query("done")]
	}
	var out bytes.Buffer
	if err := pages[name].ExecuteTemplate(&out, "base", v); err != nil {
		return err
	}
	p.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	p.w.WriteHeader(status)
	_, _ = p.w.Write(out.Bytes()) // it fails only when the browser is gone
	return nil
}

// fail shows what went wrong: what the API refused with its reason, all else is
// for the log.
func (p *page) fail(err error) {
	problem, ok := errors.AsType[*client.Problem](err)
	if !ok {
		if p.ctx.Err() != nil {
			return
		}
		p.site.log.Error("a page failed", "path", p.r.URL.Path, "error", err)
		problem = &client.Problem{Status: http.StatusInternalServerError, Title: "Internal Server Error", Detail: "The engine could not do this; its log says why."}
	}
	if err := p.render(problem.Status, "problem", view{Title: problem.Title, Problem: problem}); err != nil {
		p.site.log.Error("a page failed", "path", p.r.URL.Path, "error", err)
		http.Error(p.w, problem.Title, problem.Status)
	}
}

//go:embed static templates
var files embed.FS

var pages = parse()

// parse reads the templates: each page with those that are shared.
func parse() map[string]*template.Template {
	shared := template.Must(template.New("").Funcs(functions).ParseFS(files, "templates/base.html", "templates/parts.html"))
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err)
	}
	all := map[string]*template.Template{}
	for _, file := range names {
		all[strings.TrimSuffix(path.Base(file), ".html")] = template.Must(template.Must(shared.Clone()).ParseFS(files, file))
	}
	return all
}

// asset is a file that pages load, by an address that changes with it.
type asset struct {
	contentType, hash string
	text              []byte
}

var assets = load(map[string]string{"app.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"})

func load(types map[string]string) map[string]asset {
	all := map[string]asset{}
	for name, contentType := range types {
		text, err := files.ReadFile("static/" + name)
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(text)
		all[name] = asset{contentType, hex.EncodeToString(sum[:6]), text}
	}
	return all
}

func (s *Site) static(w http.ResponseWriter, r *http.Request) {
	a, ok := assets[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(a.text) // it fails only when the browser is gone
}

package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/flightrules/flightrules/internal/client"
)

// pageRules are the files of the engine that the pages show.
const pageRules = `
satellites:
  - {name: edge-1, region: eu, offline_threshold: 15s}
  - {name: edge-2, region: us}
kinds:
  - name: room
    fields:
      name: {type: string}
      status: {type: string, enum: [ok, failing]}
checks:
  - {id: website, http: {url: "http://127.0.0.1:1/"}, interval: 1s, failures: 1, local: true}
rules:
  - id: page-when-lost
    name: Page when a satellite is lost
    description: Somebody should know.
    tags: [pager]
    triggers:
      - event: satellite.heartbeat_lost
    conditions:
      - event.payload.region == "eu"
    actions:
      - log: ${{ event.payload.name }} is lost
      - parallel:
          - - wait: 200ms
          - - log: both
  - id: fails
    triggers:
      - event: custom.fail
    actions:
      - id: broken
        http: {url: "http://127.0.0.1:1/nobody"}
  - id: slow
    triggers:
      - event: custom.slow
    actions:
      - wait: 1h
  - id: nightly
    triggers:
      - cron: "0 3 * * *"
    actions:
      - log: good night
`

// pages is an engine with pages, and who is signed in.
type pages struct {
	*tab

	admin  *client.Client
	tokens map[string]string
	lost   string    // the id of the satellite edge-1
	agent  *exec.Cmd // its agent, that can be killed
}

// servePages starts an engine with two satellites and some history.
func servePages(t *testing.T) *pages {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules", "rules.yaml"), pageRules)
	s := serve(t, filepath.Join(dir, "data"), filepath.Join(dir, "rules"))
	token, err := client.ReadToken(filepath.Join(s.data, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	p := &pages{tab: openBrowser(t, s.url), admin: client.New(s.url, token), tokens: map[string]string{"admin": token}}
	for _, role := range []string{"viewer", "operator"} {
		var made struct{ Token string }
		p.post("/api/v1/tokens", map[string]any{"name": role, "role": role}, &made)
		p.tokens[role] = made.Token
	}
	p.lost, p.agent = p.satellite(dir, "edge-1")
	p.satellite(dir, "edge-2")
	p.put("room", "kitchen", map[string]any{"name": "Kitchen", "status": "ok"})
	p.put("room", "kitchen", map[string]any{"name": "Kitchen", "status": "failing"})
	p.put("room", "<b>hall</b>", map[string]any{"name": `<script>alert("x")</script>`, "status": "ok"})
	return p
}

func (p *pages) post(path string, body, out any) {
	p.t.Helper()
	if err := p.admin.Post(p.t.Context(), path, body, out); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pages) put(kind, id string, state map[string]any) {
	p.t.Helper()
	if err := p.admin.Put(p.t.Context(), "/api/v1/entities/"+kind+"/"+url.PathEscape(id), state); err != nil {
		p.t.Fatal(err)
	}
}

// satellite connects one, and gives its id and its agent.
func (p *pages) satellite(dir, name string) (id string, agent *exec.Cmd) {
	p.t.Helper()
	s, err := p.admin.SatelliteToken(p.t.Context(), client.NewSatellite{Name: name}, "")
	if err != nil {
		p.t.Fatal(err)
	}
	write(p.t, filepath.Join(dir, name+".token"), s.Token)
	agent = program(p.t.Context(), "satellite", "run", "--core", p.base, "--id", s.ID, "--token-file", filepath.Join(dir, name+".token"))
	if err := agent.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait() // it was killed
	})
	until(p.t, func() bool {
		var is struct{ Status string }
		return p.admin.Get(p.t.Context(), "/api/v1/satellites/"+name, &is) == nil && is.Status == "online"
	})
	return s.ID, agent
}

// event says that something happened, and waits for the run that it begins.
func (p *pages) event(name, rule, status string) (event, run string) {
	p.t.Helper()
	var e struct{ ID string }
	p.post("/api/v1/events", map[string]any{"name": name}, &e)
	for range 400 {
		var runs struct{ Items []struct{ ID, Status string } }
		if err := p.admin.Get(p.t.Context(), "/api/v1/runs?rule="+rule+"&event="+e.ID, &runs); err != nil {
			p.t.Fatal(err)
		}
		if len(runs.Items) == 1 && runs.Items[0].Status == status {
			return e.ID, runs.Items[0].ID
		}
		time.Sleep(25 * time.Millisecond)
	}
	p.t.Fatalf("no run of %s is %s", rule, status)
	return "", ""
}

func (p *pages) signIn(role string) {
	p.t.Helper()
	p.open("/login")
	p.do(chromedp.SendKeys(`input[name=token]`, p.tokens[role]+kb.Enter), chromedp.WaitVisible("nav"))
}

func (p *pages) signOut() {
	p.t.Helper()
	p.do(chromedp.Click(`form[action="/logout"] button`), chromedp.WaitVisible(`input[name=token]`))
}

func TestPages(t *testing.T) {
	script := axeScript(t)
	p := servePages(t)
	failed, failedRun := p.event("custom.fail", "fails", "failed")
	_, slowRun := p.event("custom.slow", "slow", "waiting")

	sub := func(name string, test func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			p.t = t
			defer func() { p.t = nil }()
			test(t)
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.errors != nil || len(p.asked) > 0 {
				t.Errorf("the console has %v, and the browser asked for %v", p.errors, p.asked)
			}
			p.errors = nil
		})
	}

	sub("who is not signed in sees the form and nothing else", func(t *testing.T) {
		p.open("/rules/slow?range=7d")
		if p.path() != "/login" || js[int](p.tab, `document.querySelectorAll("nav").length`) != 0 {
			t.Errorf("at %s", p.path())
		}
		if bad := p.accessible(script); len(bad) > 0 {
			t.Errorf("%s", strings.Join(bad, "\n"))
		}
		p.picture("login")
		p.do(chromedp.SendKeys(`input[name=token]`, "frt_wrong"+kb.Enter))
		p.has("No such token")
		p.do(chromedp.SendKeys(`input[name=token]`, p.tokens["admin"]+kb.Enter), chromedp.WaitVisible("nav"))
		if p.path() != "/rules/slow" {
			t.Errorf("signed in, at %s", p.path())
		}
	})

	sub("each page can be used by everybody, in the light and the dark, on a phone", func(t *testing.T) {
		for name, path := range map[string]string{
			"overview": "/", "search": "/search?q=edge", "entities": "/entities", "kind": "/entities/room", "entity": "/entities/satellite/" + p.lost,
			"entity-odd": "/entities/room/" + url.PathEscape("<b>hall</b>"), "transitions": "/transitions", "events": "/events", "event": "/events/" + failed,
			"rules": "/rules", "rule": "/rules/page-when-lost", "why": "/rules/page-when-lost?event=" + failed, "runs": "/runs", "run": "/runs/" + failedRun, "run-waiting": "/runs/" + slowRun,
			"satellites": "/satellites", "checks": "/checks", "check": "/checks/website", "silences": "/silences", "replay": "/replay", "audit": "/audit", "settings": "/settings",
			"nothing": "/nothing/here",
		} {
			for look, show := range map[string]func(){
				"light": func() { p.look(false, 1280, 900) }, "dark": func() { p.look(true, 1280, 900) }, "phone": func() { p.look(false, 360, 740) },
			} {
				show()
				p.open(path)
				want := http.StatusOK
				if name == "nothing" {
					want = http.StatusNotFound
				}
				if got := js[int](p.tab, `performance.getEntriesByType("navigation")[0].responseStatus`); got != want {
					t.Errorf("%s was answered with %d, want %d", name, got, want)
				}
				if bad := p.accessible(script); len(bad) > 0 {
					t.Errorf("%s, %s:\n%s", name, look, strings.Join(bad, "\n"))
				}
				if wide := js[int](p.tab, `document.documentElement.scrollWidth - window.innerWidth`); wide > 0 {
					t.Errorf("%s, %s: it is %d wider than the window", name, look, wide)
				}
				var sum int64
				p.mu.Lock()
				for _, n := range p.weight {
					sum += n
				}
				p.mu.Unlock()
				if sum > 150_000 {
					t.Errorf("%s weighs %d bytes", name, sum)
				}
				p.picture(name + "-" + look)
			}
		}
		p.look(false, 1280, 900)
	})

	sub("a loss is followed live on the timeline", func(t *testing.T) {
		p.open("/entities/satellite/" + p.lost + "?range=15m")
		p.until(`document.getElementById("live").dataset.state === "live"`)
		p.do(chromedp.Evaluate[chromedp.Void](`window.here = true`))
		if err := p.agent.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.until(`document.querySelector("#state .badge.bad")?.innerText === "offline"`)
		p.until(`document.querySelectorAll("#timeline rect.bad").length > 0`)
		p.until(`document.querySelector("#changes tbody tr").innerText.includes("heartbeat_lost")`)
		p.until(`document.querySelector("#events").innerText.includes("satellite.heartbeat_lost")`)
		if !js[bool](p.tab, `window.here === true`) {
			t.Error("the page was loaded anew")
		}
		p.picture("loss")
		p.open("/")
		p.has("1 satellite offline")
		p.do(chromedp.Click(`#fired a[href^="/runs/"]`), chromedp.WaitVisible(".waterfall"))
		p.until(`document.querySelectorAll(".waterfall svg rect").length >= 4`)
		p.until(`document.querySelector("#state").innerText.includes("succeeded")`)
		p.picture("waterfall")
	})

	sub("a run can be cancelled and retried", func(t *testing.T) {
		p.open("/runs/" + slowRun)
		p.do(chromedp.SendKeys(`input[name=reason]`, "no more"), chromedp.Click("button.danger"))
		p.has("asked to end")
		p.until(`document.querySelector("#state .badge").innerText === "cancelled"`)
		p.has("no more")
		p.open("/runs/" + failedRun)
		p.do(chromedp.Click("#state button.main"))
		p.has("goes on from the step that failed")
		p.until(`document.querySelector("#state").innerText.includes("failed") && document.querySelector("#state").innerText.includes("attempt\n2")`)
	})

	sub("a rule can be paused, run and asked why not", func(t *testing.T) {
		p.open("/rules/page-when-lost")
		p.do(chromedp.SendKeys(`form[action$="/pause"] input[name=reason]`, "maintenance"), chromedp.Click(`form[action$="/pause"] button`))
		p.has("maintenance")
		p.open("/")
		p.has("maintenance")
		p.open("/rules/page-when-lost")
		p.do(chromedp.Click(`form[action$="/resume"] button`))
		p.has("The rule runs again")
		p.open("/rules/nightly")
		p.do(chromedp.Click(`form[action$="/run"] button`))
		p.has("The rule runs.")
		p.until(`document.querySelector("#decisions").innerText.includes("started")`)
		p.open("/rules/page-when-lost")
		p.do(chromedp.SendKeys(`input[name=event]`, failed+kb.Enter))
		p.has("no match")
		p.has("No decision is on record")
		p.open("/rules/page-when-lost?event=none")
		p.has("event none")
	})

	sub("a silence is set, and ended", func(t *testing.T) {
		p.open("/silences")
		p.do(chromedp.SendKeys(`input[name=match]`, "event.entity.id =="), chromedp.SendKeys(`input[name=reason]`, "repairs"+kb.Enter))
		p.has("at character")
		if got := js[string](p.tab, `document.querySelector("input[name=reason]").value`); got != "repairs" {
			t.Errorf("the form has lost what was written: %q", got)
		}
		p.do(chromedp.Clear(`input[name=match]`), chromedp.SendKeys(`input[name=match]`, `event.entity.id == "db-1"`+kb.Enter))
		p.has("The silence is set")
		p.picture("silence")
		p.do(chromedp.Click("tbody button"))
		p.has("The silence has ended")
		p.has("Nothing is silenced")
	})

	sub("history is replayed to a picture", func(t *testing.T) {
		p.open("/replay")
		p.do(chromedp.Click("main button.main"), chromedp.WaitVisible(".replay svg"))
		p.picture("replayed")
		ground, text := js[string](p.tab, `getComputedStyle(document.querySelector(".replay .ground")).fill`), js[string](p.tab, `getComputedStyle(document.querySelector(".replay .text")).fill`)
		if ground != "rgb(255, 255, 255)" || text == ground {
			t.Errorf("the picture has the ground %s and the text %s", ground, text)
		}
		if bad := p.accessible(script); len(bad) > 0 {
			t.Errorf("%s", strings.Join(bad, "\n"))
		}
	})

	sub("a token is made, shown once and revoked", func(t *testing.T) {
		p.open("/settings")
		p.do(chromedp.SendKeys(`input[name=name]`, "ann"+kb.Enter))
		p.has("It is shown this once")
		made := js[string](p.tab, `document.querySelector("main pre").innerText`)
		ann := client.New(p.base, made)
		if err := ann.Get(t.Context(), "/api/v1/me", nil); err != nil {
			t.Error(err)
		}
		p.open("/settings")
		if js[bool](p.tab, `document.body.innerHTML.includes("`+made+`")`) {
			t.Error("the token is shown again")
		}
		p.do(chromedp.Click(`button[aria-label="Revoke ann"]`))
		p.has("The token is revoked")
		if err := ann.Get(t.Context(), "/api/v1/me", nil); err == nil {
			t.Error("a token that was revoked is good")
		}
	})

	sub("all can be done by the keyboard alone", func(t *testing.T) {
		p.open("/")
		p.do(chromedp.KeyEvent(kb.Tab))
		if got := js[string](p.tab, `document.activeElement.innerText`); got != "To the content" {
			t.Errorf("the first stop is %q", got)
		}
		p.do(chromedp.KeyEvent("/"))
		if !js[bool](p.tab, `document.activeElement.matches("#search")`) {
			t.Error("the slash does not lead to the search")
		}
		js[string](p.tab, `document.activeElement.value = ""`) // the protocol types the slash all the same
		p.do(chromedp.KeyEvent("edge-2"), chromedp.KeyEvent(kb.Enter))
		p.until(`location.pathname === "/search" && document.querySelector("main td a")`)
		reached := false
		for range 40 {
			p.do(chromedp.KeyEvent(kb.Tab))
			if reached = js[bool](p.tab, `document.activeElement.matches("main td a")`); reached {
				break
			}
		}
		if !reached {
			t.Fatal("the keyboard does not come to what was found")
		}
		if js[string](p.tab, `getComputedStyle(document.activeElement).outlineStyle`) == "none" {
			t.Error("it cannot be seen where the keyboard is")
		}
		p.do(chromedp.KeyEvent(kb.Enter))
		p.until(`location.pathname.startsWith("/entities/satellite/")`)
	})

	sub("following can be held up", func(t *testing.T) {
		p.open("/entities/room/kitchen")
		p.until(`document.getElementById("live").dataset.state === "live"`)
		p.do(chromedp.Click("#live"))
		p.put("room", "kitchen", map[string]any{"name": "Kitchen", "status": "ok"})
		time.Sleep(2 * time.Second) // that it does not follow can only be waited for: it would within one
		if got := js[string](p.tab, `document.querySelector("#state .badge").innerText`); got != "failing" {
			t.Errorf("it is held up, and shows %q", got)
		}
		p.do(chromedp.Click("#live"))
		p.until(`document.querySelector("#state .badge").innerText === "ok"`)
	})

	sub("what others have named runs nowhere", func(t *testing.T) {
		p.open("/entities/room")
		p.has(`<script>alert("x")</script>`)
		p.do(chromedp.Evaluate[chromedp.Void](`[...document.querySelectorAll("td a")].find(a => a.innerText.includes("alert")).click()`))
		p.until(`document.querySelector("#state .code")?.innerText === "<b>hall</b>"`)
		if blocked := js[string](p.tab, `(() => { const s = document.createElement("script"); s.textContent = "window.ran = true"; document.body.append(s); return String(window.ran) })()`); blocked != "undefined" {
			t.Error("a script in the page runs")
		}
		p.mu.Lock()
		p.errors = nil
		p.mu.Unlock()
	})

	sub("a viewer may not write", func(t *testing.T) {
		p.signOut()
		p.open("/rules")
		if p.path() != "/login" {
			t.Errorf("signed out, and at %s", p.path())
		}
		p.signIn("viewer")
		for _, path := range []string{"/rules/slow", "/runs/" + failedRun, "/silences", "/replay", "/settings"} {
			p.open(path)
			if forms := js[int](p.tab, `document.querySelectorAll("main form[method=post]").length`); forms != 0 {
				t.Errorf("%s offers a viewer %d forms", path, forms)
			}
		}
		p.open("/audit")
		p.has("wants the role admin")
		csrf := js[string](p.tab, `document.querySelector("input[name=csrf]").value`)
		post := func(path, body string) int {
			return js[int](p.tab, fmt.Sprintf(`fetch(%q, {method: "POST", headers: {"Content-Type": "application/x-www-form-urlencoded"}, body: %q}).then(r => r.status)`, path, body))
		}
		if got := post("/rules/slow/pause", "csrf="+csrf); got != http.StatusForbidden {
			t.Errorf("a viewer pauses a rule: %d", got)
		}
		p.signOut()
		p.signIn("operator")
		if got := post("/rules/slow/pause", "csrf="+csrf); got != http.StatusForbidden {
			t.Errorf("with the token of another session: %d", got)
		}
		csrf = js[string](p.tab, `document.querySelector("input[name=csrf]").value`)
		if got := post("/rules/slow/pause", "csrf="+csrf); got != http.StatusOK {
			t.Errorf("with the token of the session: %d", got)
		}
		p.open("/settings")
		if js[int](p.tab, `document.querySelectorAll("main form[method=post]").length`) != 0 {
			t.Error("an operator is offered tokens")
		}
		var audit struct {
			Items []struct{ Actor, Path, Remote string }
		}
		if err := p.admin.Get(t.Context(), "/api/v1/audit?limit=1", &audit); err != nil || audit.Items[0].Actor != "token:operator" || !strings.HasPrefix(audit.Items[0].Remote, "127.0.0.1:") {
			t.Errorf("audit %+v, %v", audit.Items, err)
		}
	})

}

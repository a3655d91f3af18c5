package web

import (
	"context"
	"encoding/json"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/plugins"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// canned answers with texts by path; what it has none for is empty.
type canned map[string]string

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	text, ok := c[r.URL.Path]
	if !ok {
		text = `{"items":[],"next":null}`
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// shown is a page as an admin sees it, of an engine that answers so.
func shown(t *testing.T, answers canned, show func(*Site, *page) error, target string) string {
	t.Helper()
	s := &Site{api: client.Inside(answers), now: func() time.Time { return noon }, log: slog.New(slog.DiscardHandler)}
	w := httptest.NewRecorder()
	p := &page{site: s, w: w, r: httptest.NewRequest("GET", target, nil), ctx: context.Background(), caller: httpapi.Caller{Name: "ann", Role: plugins.Admin}, csrf: "token"}
	if err := show(s, p); err != nil {
		t.Fatal(err)
	}
	return w.Body.String()
}

func TestOverviewPage(t *testing.T) {
	const ready = `"ready":{"status":"ok","checks":[]}`
	for name, c := range map[string]struct {
		answers    canned
		want, lack []string
	}{
		"of an engine with nothing in it": {
			canned{"/api/v1/overview": `{"kinds":[{"name":"room","count":0,"statuses":{}}],` + ready + `}`},
			[]string{"There is nothing here yet", "Nothing is wrong", "No rule has fired yet"}, nil,
		},
		"where all is well": {
			canned{"/api/v1/overview": `{"kinds":[{"name":"room","count":2,"statuses":{"ok":2}}],"rules":{"count":1},` + ready + `}`},
			[]string{"Nothing is wrong", "2 <span class=\"badge good\">ok"}, []string{"There is nothing here yet"},
		},
		"where somebody is lost": {
			canned{
				"/api/v1/overview": `{"kinds":[{"name":"room","count":9,"statuses":{"ok":3,"failing":6}}],` + ready + `}`,
				"/api/v1/entities": `{"items":[{"kind":"room","id":"k","state":{"name":"Kitchen"}}],"next":"k"}`,
			},
			[]string{`<b>6 room</b></a> <span class="badge bad">failing`, ">Kitchen</a> and others"}, []string{"Nothing is wrong"},
		},
		"with a run that was given up": {
			canned{"/api/v1/overview": `{"runs":{"dead":3},` + ready + `}`, "/api/v1/runs": `{"items":[{"id":"r"}],"next":null}`},
			[]string{"3 given up"}, []string{"Nothing is wrong"},
		},
		"with a rule that is paused": {
			canned{"/api/v1/overview": `{"rules":{"count":1,"paused":1},` + ready + `}`, "/api/v1/rules": `{"items":[{"id":"loud","paused":{"reason":"too loud","tripped":true}},{"id":"calm"}],"next":null}`},
			[]string{">loud</a> is <span class=\"badge bad\">tripped</span> too loud"}, []string{"Nothing is wrong", ">calm<"},
		},
		"with files that were refused": {
			canned{"/api/v1/overview": `{` + ready + `}`, "/api/v1/rules": `{"items":[],"next":null,"problems":[{"file":"a.yaml","line":7,"message":"bad","hint":"good"}]}`},
			[]string{"a.yaml:7", "bad (good)"}, []string{"Nothing is wrong"},
		},
		"of an engine that is not ready": {
			canned{"/api/v1/overview": `{"ready":{"status":"failing","checks":[{"name":"database","ok":false,"error":"it is gone"}]}}`},
			[]string{"database: it is gone"}, []string{"Nothing is wrong"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := shown(t, c.answers, (*Site).overview, "/")
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("it lacks %q:\n%s", want, got)
				}
			}
			for _, lack := range c.lack {
				if strings.Contains(got, lack) {
					t.Errorf("it has %q", lack)
				}
			}
		})
	}
}

// TestEmptyPages has nothing there: each page says what to do about it.
func TestEmptyPages(t *testing.T) {
	for want, show := range map[string]func(*Site, *page) error{
		"flightrules init":             (*Site).rules,
		"flightrules satellite token":  (*Site).satellites,
		"flightrules checks set":       (*Site).checks,
		"Nothing has run yet":          (*Site).runs,
		"has changed yet":              (*Site).transitions,
		"plugins bring them":           (*Site).kinds,
		"Nothing is silenced":          (*Site).silences,
		"No event is like that":        (*Site).events,
		"Text in the id or name":       (*Site).search,
		"There is none of this kind":   (*Site).entities,
		"Try other rules than those":   (*Site).replayForm,
		"Every write that came in by ": (*Site).audit,
	} {
		if got := shown(t, nil, show, "/x"); !strings.Contains(got, want) {
			t.Errorf("%q is not on its page:\n%s", want, got)
		}
	}
}

func TestLocal(t *testing.T) {
	for next, want := range map[string]string{
		"/rules?range=7d": "/rules?range=7d", "": "/", "https://example.com": "/", "//example.com": "/", `/\example.com`: "/", "/a\nb": "/", "rules": "/",
	} {
		if got := local(next); got != want {
			t.Errorf("after the sign-in %q leads to %q, want %q", next, got, want)
		}
	}
}

func changed(seq int64, minutes int, changes map[string][2]any) client.Transition {
	return client.Transition{Seq: seq, At: noon.Add(time.Duration(minutes) * time.Minute), Changes: changes}
}

func TestTimeline(t *testing.T) {
	lines := drawTimeline(noon, noon.Add(time.Hour), map[string]any{"status": "online", "region": "eu"}, []client.Transition{
		changed(7, 15, map[string][2]any{"status": {"online", "offline"}}),
		changed(8, 30, map[string][2]any{"status": {"offline", nil}, "region": {"eu", nil}}),
		changed(9, 45, map[string][2]any{"status": {nil, "online"}, "extra": {nil, map[string]any{"a": 1.0}}}),
	})
	type seen struct {
		Field string
		Still bool
		Parts []part
	}
	var got []seen
	for _, l := range lines {
		got = append(got, seen{l.Field, l.Still, l.Parts})
	}
	want := []seen{
		{"status", false, []part{{"online", "good", "50 %"}, {"offline", "bad", "25 %"}}},
		{"extra", true, []part{{`{"a":1}`, "shade0", "25 %"}}},
		{"region", true, []part{{"eu", "shade0", "50 %"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	status := string(lines[0].Picture)
	for _, bar := range []string{
		`<rect class="good" x="0.0" width="250.0" height="20"><title>status: online, from 2026-11-24 12:00:00 for 15 min</title>`,
		`<rect class="bad" x="250.0" width="250.0" height="20" data-to="t7">`,
		`<rect class="good" x="750.0" width="250.0" height="20" data-to="t9">`,
	} {
		if !strings.Contains(status, bar) {
			t.Errorf("it lacks %s:\n%s", bar, status)
		}
	}
	if n := strings.Count(status, "<rect"); n != 3 {
		t.Errorf("%d bars, want 3: nothing is drawn where it was absent", n)
	}
}

func TestPicturesSayNothingThatIsRun(t *testing.T) {
	const nasty = `"><script>alert(1)</script>&`
	for name, picture := range map[string]template.HTML{
		"strip":   strip(nasty, []bar{{to: 1, class: "good", title: nasty, jump: nasty}}),
		"columns": columns(nasty, []stack{{counts: map[string]int{"good": 1}, title: nasty}}, []string{"good"}),
		"spark":   sparkline(nasty, []point{{noon, 1}, {noon.Add(time.Second), 2}}),
		"badge":   badge(nasty),
	} {
		if strings.Contains(string(picture), "<script>") || strings.Contains(string(picture), `="">`) {
			t.Errorf("%s: %s", name, picture)
		}
	}
	if got := withoutStyle(`<svg><style>.a{}</style><rect/></svg>`); got != "<svg><rect/></svg>" {
		t.Errorf("%s", got)
	}
}

func TestBarsStayWithin(t *testing.T) {
	got := string(strip("", []bar{{from: 1, to: 1}, {from: -3, to: 0}, {from: 0.5, to: 9}}))
	for _, want := range []string{`x="997.0" width="3.0"`, `x="0.0" width="3.0"`, `x="500.0" width="500.0"`} {
		if !strings.Contains(got, want) {
			t.Errorf("it lacks %s: %s", want, got)
		}
	}
}

func TestWaterfall(t *testing.T) {
	at := func(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }
	end := at(1000)
	zero := 0
	rows := waterfall(client.Run{CreatedAt: noon, FinishedAt: &end, Steps: []client.Step{
		{Path: "actions[0]", Action: "parallel", Status: "failed", StartedAt: at(0), FinishedAt: &end},
		{Path: "actions[0].parallel[1][0]", Action: "log", Status: "succeeded", StartedAt: at(100), FinishedAt: &end, Parent: &zero},
		{Path: "actions[0].parallel[0][0]", Action: "wait", Status: "waiting", StartedAt: at(500), Parent: &zero},
	}}, noon.Add(time.Hour))
	var got []string
	for _, r := range rows {
		got = append(got, r.Path+strings.Repeat(" in", r.Depth))
	}
	if diff := cmp.Diff([]string{"actions[0]", "actions[0].parallel[0][0] in", "actions[0].parallel[1][0] in"}, got); diff != "" {
		t.Error(diff)
	}
	if !rows[0].Open || rows[1].Open || !strings.Contains(string(rows[1].Picture), `x="500.0" width="500.0"`) {
		t.Errorf("%+v", rows)
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		ago(noon, noon.Add(-90*time.Second)): "90 s ago", ago(noon, noon): "now", ago(noon, time.Time{}): "never", ago(noon, noon.Add(3*time.Hour)): "in 3 h", rough(500 * time.Hour): "20 days",
		percent(time.Second, time.Hour): "< 0.1 %", percent(0, 0): "0 %", percent(time.Hour, time.Hour): "100 %", percent(59*time.Minute+59*time.Second, time.Hour): "> 99.9 %",
		plain(nil): "", plain("a"): "a", plain(1.5): "1.5", plain([]any{"a"}): `["a"]`, plain(json.RawMessage(`{"a":1}`)): `{"a":1}`,
		short("01a2320c-79e8-78ee-a7cf-e85e89a6ca66"): "01a2320c…ca66", short("edge-1"): "edge-1",
		string(badge("never_connected")): `<span class="badge quiet">never connected</span>`, string(badge(nil)): `<span class="badge neutral">none</span>`,
		inputTime("2026-01-31 12:00:00"): "2026-01-31T12:00:00Z", inputTime("2026-01-31"): "2026-01-31T00:00:00Z", inputTime("soon"): "soon",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

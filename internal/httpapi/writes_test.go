package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
)

const mars = "/api/v1/entities/planet/mars"

type entityBody struct {
	Version int64
	State   map[string]any
}

func TestWritesOfEntities(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		put := func(method, target, body string, headers ...string) answer {
			return f.as(plugins.Operator, method, target, body, headers...)
		}

		t.Run("the first PUT makes the entity and the next one replaces it", func(t *testing.T) {
			a := put("PUT", mars, `{"status":"unknown","moons":2}`).want(201)
			if tag := a.Header().Get("ETag"); tag != `"1"` {
				t.Errorf("ETag %s", tag)
			}
			a = put("PUT", mars, `{"status":"charted"}`).want(200)
			var got entityBody
			a.into(&got)
			if diff := cmp.Diff(entityBody{2, map[string]any{"status": "charted"}}, got); diff != "" {
				t.Error(diff)
			}
		})

		t.Run("a PUT of the same state changes nothing", func(t *testing.T) {
			if tag := put("PUT", mars, `{"status":"charted"}`).want(200).Header().Get("ETag"); tag != `"2"` {
				t.Errorf("ETag %s", tag)
			}
		})

		t.Run("a PATCH changes what it names, and null takes away", func(t *testing.T) {
			put("PATCH", mars, `{"moons":2,"names":{"la":"Mars","el":"Ares"}}`, "Content-Type", "application/merge-patch+json").want(200)
			var got entityBody
			put("PATCH", mars, `{"moons":null,"names":{"la":null}}`).want(200).into(&got)
			if diff := cmp.Diff(entityBody{4, map[string]any{"status": "charted", "names": map[string]any{"el": "Ares"}}}, got); diff != "" {
				t.Error(diff)
			}
		})

		t.Run("a number comes back as exact as it was sent", func(t *testing.T) {
			a := put("PATCH", mars, `{"moons":9007199254740993}`).want(200)
			if !strings.Contains(a.Body.String(), "9007199254740993") {
				t.Errorf("body %s", a.Body)
			}
			put("PATCH", mars, `{"moons":null}`).want(200)
		})

		t.Run("a write on a version that is over is refused and changes nothing", func(t *testing.T) {
			before := f.as(plugins.Viewer, "GET", mars, "").want(200)
			for _, tag := range []string{`"1"`, `1`, `"0"`, `"99"`} {
				p := put("PUT", mars, `{"status":"unknown"}`, "If-Match", tag).problem(412, "version_mismatch")
				if len(p.Errors) != 1 || p.Errors[0].Location != "header.If-Match" {
					t.Errorf("errors %+v", p.Errors)
				}
				put("PATCH", mars, `{"status":"unknown"}`, "If-Match", tag).problem(412, "version_mismatch")
				put("DELETE", mars, "", "If-Match", tag).problem(412, "version_mismatch")
			}
			if got := f.as(plugins.Viewer, "GET", mars, "").Body.String(); got != before.Body.String() {
				t.Errorf("got %s", got)
			}
			put("PUT", mars, `{"status":"unknown"}`, "If-Match", before.Header().Get("ETag")).want(200)
			put("PUT", mars, `{"status":"charted"}`, "If-Match", "*").want(200)
		})

		t.Run("an If-Match that is no version is refused", func(t *testing.T) {
			p := put("PUT", mars, `{"status":"unknown"}`, "If-Match", `W/"x"`).problem(422, "unprocessable_entity")
			if len(p.Errors) != 1 || p.Errors[0].Location != "header.If-Match" {
				t.Errorf("errors %+v", p.Errors)
			}
		})

		t.Run("nothing matches an entity that is not there", func(t *testing.T) {
			put("PUT", "/api/v1/entities/planet/none", `{"status":"unknown"}`, "If-Match", "*").problem(412, "version_mismatch")
			put("DELETE", "/api/v1/entities/planet/none", "", "If-Match", "*").problem(412, "version_mismatch")
			put("DELETE", "/api/v1/entities/planet/none", "").problem(404, "not_found")
			put("PATCH", "/api/v1/entities/planet/none", `{"status":"unknown"}`).problem(404, "not_found")
		})

		t.Run("what a plugin keeps is not written here", func(t *testing.T) {
			for _, method := range []string{"PUT", "PATCH", "DELETE"} {
				put(method, "/api/v1/entities/probe/p1", `{"status":"online"}`).problem(409, "not_kept")
				put(method, "/api/v1/entities/comet/c1", `{"status":"online"}`).problem(404, "unknown_kind")
			}
		})

		t.Run("the type's own check is asked", func(t *testing.T) {
			p := put("PATCH", mars, `{"moons":-1}`).problem(422, "invalid_state")
			if !strings.Contains(p.Detail, "no negative moons") {
				t.Errorf("detail %q", p.Detail)
			}
		})

		t.Run("changes bear the name of the token", func(t *testing.T) {
			list, err := f.planets.Transitions(t.Context(), "mars", 1)
			f.no(err)
			if want := (entities.Cause{Actor: "token:operator"}); list[0].Cause != want {
				t.Errorf("cause %+v, want %+v", list[0].Cause, want)
			}
		})

		t.Run("a removed entity is gone now and there in the past", func(t *testing.T) {
			f.pass(time.Hour)
			put("DELETE", mars, "").want(204)
			f.as(plugins.Viewer, "GET", mars, "").problem(404, "not_found")
			f.as(plugins.Viewer, "GET", mars+"?at=2026-11-24T06:30:00Z", "").problem(404, "not_found")
			f.as(plugins.Viewer, "GET", mars+"?at=2026-11-24T05:00:44Z", "").problem(404, "not_found")
			var got entityBody
			f.as(plugins.Viewer, "GET", mars+"?at=2026-11-24T05:30:00Z", "").want(200).into(&got)
			if got.State["status"] != "charted" {
				t.Errorf("state then %v", got.State)
			}
		})

		t.Run("ids with slashes and other letters are ids", func(t *testing.T) {
			put("PUT", "/api/v1/entities/planet/a%2Fb%20%C3%A4", `{"status":"unknown"}`).want(201)
			if _, err := f.planets.Get(t.Context(), "a/b ä"); err != nil {
				t.Error(err)
			}
		})
	})
}

func TestEvents(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		post := func(body string) answer { return f.as(plugins.Operator, "POST", "/api/v1/events", body) }
		count := func() int {
			var list struct{ Items []any }
			f.as(plugins.Viewer, "GET", "/api/v1/events", "").want(200).into(&list)
			return len(list.Items)
		}

		t.Run("an event that is sent twice happens once", func(t *testing.T) {
			const body = `{"id":"build-7","name":"custom.deployed","entity":{"kind":"planet","id":"mars"},"payload":{"n": 9007199254740993}}`
			first := post(body).want(201)
			f.pass(time.Minute)
			second := post(body).want(200)
			if first.Body.String() != second.Body.String() || count() != 1 {
				t.Errorf("first %s, second %s, %d events", first.Body, second.Body, count())
			}
			var got struct {
				ID, Name, Actor string
				Entity          struct{ Kind, ID string }
			}
			first.into(&got)
			if got.ID != "build-7" || got.Name != "custom.deployed" || got.Actor != "token:operator" || got.Entity.Kind != "planet" || got.Entity.ID != "mars" {
				t.Errorf("event %+v", got)
			}
			if !strings.Contains(first.Body.String(), `"payload":{"n":9007199254740993}`) {
				t.Errorf("event %s", first.Body)
			}
		})

		t.Run("an id that another event has is refused", func(t *testing.T) {
			p := post(`{"id":"build-7","name":"custom.failed"}`).problem(409, "id_taken")
			if p.Errors[0].Location != "body.id" {
				t.Errorf("errors %+v", p.Errors)
			}
		})

		t.Run("without an id each is one of its own", func(t *testing.T) {
			before := count()
			post(`{"name":"custom.x","payload":null}`).want(201)
			post(`{"name":"custom.x","payload":null}`).want(201)
			if got := count() - before; got != 2 {
				t.Errorf("%d events more, want 2", got)
			}
		})

		t.Run("an event may have happened earlier", func(t *testing.T) {
			a := post(`{"name":"custom.x","at":"2026-11-24T04:00:00+01:00"}`).want(201)
			if !strings.Contains(a.Body.String(), `"at":"2026-11-24T03:00:00Z"`) {
				t.Errorf("event %s", a.Body)
			}
		})

		before := count()
		for _, c := range []struct{ name, body, code, location string }{
			{"the events of plugins are theirs", `{"name":"probe.lost"}`, "invalid_event", "body.name"},
			{"a name has a form", `{"name":"custom.Deployed!"}`, "invalid_event", "body.name"},
			{"a name is wanted", `{"payload":1}`, "unprocessable_entity", "body"},
			{"an unknown member is a mistake", `{"name":"custom.x","paylod":1}`, "unprocessable_entity", "body.paylod"},
			{"nothing happens in the future", `{"name":"custom.x","at":"2026-11-24T06:00:00Z"}`, "invalid_event", "body.at"},
			{"an id is printable", `{"name":"custom.x","id":"a\u0000"}`, "unprocessable_entity", "body.id"},
			{"an entity's id too", `{"name":"custom.x","entity":{"kind":"planet","id":"\u0000"}}`, "unprocessable_entity", "body.entity.id"},
			{"the entity's kind is one that there is", `{"name":"custom.x","entity":{"kind":"comet","id":"1"}}`, "unknown_kind", "body.entity.kind"},
		} {
			t.Run(c.name, func(t *testing.T) {
				p := post(c.body).problem(422, c.code)
				if len(p.Errors) != 1 || p.Errors[0].Location != c.location {
					t.Errorf("errors %+v, want one at %s", p.Errors, c.location)
				}
			})
		}
		if got := count(); got != before {
			t.Errorf("%d events were kept in spite of mistakes", got-before)
		}
	})
}

package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
)

type silenceBody struct {
	ID, Match, Reason, Author string
	Start, End                time.Time
	File                      bool
}

func TestSilences(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		const path = "/api/v1/silences"
		post := func(body string) answer { return f.as(plugins.Operator, "POST", path, body) }
		ids := func(query string) (list []string) {
			t.Helper()
			for after := ""; ; {
				var page struct {
					Items []silenceBody
					Next  *string
				}
				f.as(plugins.Viewer, "GET", path+"?limit=2&after="+after+query, "").want(200).into(&page)
				for _, s := range page.Items {
					list = append(list, s.ID)
				}
				if page.Next == nil {
					return list
				}
				after = *page.Next
			}
		}

		t.Run("one lasts from now for a duration", func(t *testing.T) {
			golden(t, "silence", post(`{"id":"move","match":"event.entity.kind == \"probe\"","duration":"2h","reason":"we move"}`).want(201).Body.Bytes())
			golden(t, "silence", f.as(plugins.Viewer, "GET", path+"/move", "").want(200).Body.Bytes())
		})

		t.Run("or from a start to an end, under an id that is made", func(t *testing.T) {
			var s silenceBody
			post(`{"match":"true","start":"2026-12-01T00:00:00Z","end":"2026-12-02T00:00:00+01:00","reason":"r"}`).want(201).into(&s)
			if s.ID == "" || s.Author != "token:operator" || !s.Start.Equal(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)) || !s.End.Equal(time.Date(2026, 12, 1, 23, 0, 0, 0, time.UTC)) {
				t.Errorf("silence %+v", s)
			}
			f.as(plugins.Operator, "DELETE", path+"/"+s.ID, "").want(204)
		})

		t.Run("they are listed by id, in parts, and those that are over are left out on request", func(t *testing.T) {
			f.insert(
				&journal.Silence{ID: "a", Matcher: "true", StartsAt: db.At(start), EndsAt: db.At(start), EndedAt: db.At(start), CreatedAt: db.At(start)},
				&journal.Silence{ID: "z", Matcher: "true", StartsAt: db.At(start), EndsAt: db.At(start.Add(time.Hour)), File: true, CreatedAt: db.At(start)},
			)
			all, open := ids(""), ids("&open=true")
			if len(all) != 4 || all[1] != "a" || all[3] != "z" {
				t.Errorf("all %v", all)
			}
			if diff := cmp.Diff(append([]string{all[0]}, "move", "z"), open); diff != "" {
				t.Errorf("open (-want +got):\n%s", diff)
			}
		})

		t.Run("it is ended now", func(t *testing.T) {
			f.pass(time.Minute)
			f.as(plugins.Operator, "DELETE", path+"/move", "").want(204)
			var s silenceBody
			f.as(plugins.Viewer, "GET", path+"/move", "").want(200).into(&s)
			if !s.End.Equal(f.clock()) {
				t.Errorf("it ends at %v, want %v", s.End, f.clock())
			}
		})

		t.Run("one of the files is not ended here", func(t *testing.T) {
			if p := f.as(plugins.Operator, "DELETE", path+"/z", "").problem(422, "invalid_silence"); !strings.Contains(p.Detail, "stands in the files") {
				t.Errorf("detail %q", p.Detail)
			}
		})

		t.Run("nor is one that is over or does not exist", func(t *testing.T) {
			for _, id := range []string{"a", "none"} {
				f.as(plugins.Operator, "DELETE", path+"/"+id, "").problem(404, "not_found")
			}
			f.as(plugins.Viewer, "GET", path+"/none", "").problem(404, "not_found")
		})

		before := len(ids(""))
		for _, c := range []struct{ name, body, code, location string }{
			{"an end before the start is refused", `{"match":"true","start":"2026-12-02T00:00:00Z","end":"2026-12-01T00:00:00Z","reason":"r"}`, "invalid_silence", ""},
			{"one that is over is refused", `{"match":"true","start":"2026-01-01T00:00:00Z","duration":"1h","reason":"r"}`, "invalid_silence", ""},
			{"an id that is taken is refused", `{"id":"move","match":"true","duration":"1h","reason":"r"}`, "invalid_silence", ""},
			{"an end is wanted", `{"match":"true","reason":"r"}`, "invalid_silence", "body.end"},
			{"one end is enough", `{"match":"true","duration":"1h","end":"2026-12-01T00:00:00Z","reason":"r"}`, "invalid_silence", "body.end"},
			{"a duration has a form", `{"match":"true","duration":"soon","reason":"r"}`, "invalid_silence", "body.duration"},
			{"a matcher must compile", `{"match":"event.naem == \"x\"","duration":"1h","reason":"r"}`, "invalid_silence", "body.match"},
			{"a reason is wanted", `{"match":"true","duration":"1h"}`, "unprocessable_entity", "body"},
			{"an id has a form", `{"id":"A/B","match":"true","duration":"1h","reason":"r"}`, "unprocessable_entity", "body.id"},
		} {
			t.Run(c.name, func(t *testing.T) {
				p := post(c.body).problem(422, c.code)
				if c.location != "" && (len(p.Errors) != 1 || p.Errors[0].Location != c.location) {
					t.Errorf("errors %+v, want one at %s", p.Errors, c.location)
				}
			})
		}
		if got := len(ids("")); got != before {
			t.Errorf("%d silences were made in spite of mistakes", got-before)
		}
		t.Run("what is wrong with a matcher is said with its place", func(t *testing.T) {
			p := post(`{"match":"\"ä\" != \"\" && event.naem == \"x\"","duration":"1h","reason":"r"}`).problem(422, "invalid_silence")
			if !strings.HasPrefix(p.Errors[0].Message, "at character 20: ") {
				t.Errorf("errors %+v", p.Errors)
			}
		})
	})
}

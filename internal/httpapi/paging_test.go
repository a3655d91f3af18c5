package httpapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
)

func TestPaging(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		for i := 1; i <= 5; i++ {
			id, at := fmt.Sprintf("x%d", i), db.At(start)
			f.as(plugins.Operator, "PUT", "/api/v1/entities/planet/"+id, `{"status":"unknown"}`).want(201)
			f.insert(
				&journal.Event{ID: id, Name: "custom.x", Actor: "a", At: at},
				&journal.Decision{Rule: "r", EventID: id, Outcome: journal.Started, At: at},
				&journal.Decision{Rule: "other", EventID: id, Outcome: journal.Blocked, At: at},
				&journal.Run{ID: id, Rule: "r", EventID: id, Status: journal.RunQueued, CreatedAt: at},
			)
			_, _, err := f.server.Tokens().Create(t.Context(), id, plugins.Viewer, time.Time{})
			f.no(err)
		}
		rising := []string{"x1", "x2", "x3", "x4", "x5"}
		falling := []string{"x5", "x4", "x3", "x2", "x1"}
		for _, c := range []struct {
			target, field string
			want          []string
		}{
			{"/api/v1/entities?kind=planet", "id", rising},
			{"/api/v1/transitions?kind=planet", "entity_id", falling},
			{"/api/v1/events?name=custom.x", "id", falling},
			{"/api/v1/decisions?rule=r", "event_id", falling},
			{"/api/v1/decisions?outcome=blocked", "event_id", falling},
			{"/api/v1/rules/r/decisions?outcome=started", "event_id", falling},
			{"/api/v1/runs?status=queued", "id", falling},
			{"/api/v1/tokens?x=", "name", append(falling, "hook", "admin", "operator", "viewer")},
		} {
			t.Run(c.target+" comes page by page, each thing once", func(t *testing.T) {
				got, pages := walk(f, c.target, c.field)
				if !slices.Equal(got, c.want) {
					t.Errorf("got %v, want %v", got, c.want)
				}
				if want := (len(c.want) + 1) / 2; pages != want {
					t.Errorf("%d pages, want %d", pages, want)
				}
			})
		}

		t.Run("a page that ends with the list has no next", func(t *testing.T) {
			var list struct{ Next *string }
			f.as(plugins.Viewer, "GET", "/api/v1/entities?kind=planet&limit=5", "").want(200).into(&list)
			if list.Next != nil {
				t.Errorf("next %q", *list.Next)
			}
		})

		t.Run("what comes in between the pages moves nothing", func(t *testing.T) {
			var first, second struct {
				Items []struct{ ID string }
				Next  string
			}
			f.as(plugins.Viewer, "GET", "/api/v1/events?limit=2", "").want(200).into(&first)
			f.insert(&journal.Event{ID: "x6", Name: "custom.x", Actor: "a", At: db.At(start)})
			f.as(plugins.Viewer, "GET", "/api/v1/events?limit=2&after="+first.Next, "").want(200).into(&second)
			if len(second.Items) != 2 || second.Items[0].ID != "x3" {
				t.Errorf("second page %+v", second)
			}
		})
	})
}

// walk reads a list in pages of two and gives a field of each item.
func walk(f *fixture, target, field string) (values []string, pages int) {
	f.t.Helper()
	for after := ""; ; {
		var list struct {
			Items []map[string]any
			Next  *string
		}
		f.as(plugins.Admin, "GET", target+"&limit=2&after="+url.QueryEscape(after), "").want(200).into(&list)
		pages++
		for _, item := range list.Items {
			values = append(values, item[field].(string))
		}
		if list.Next == nil || pages > 10 {
			return values, pages
		}
		after = *list.Next
	}
}

func TestFilters(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		history(f)
		for target, want := range map[string][]string{
			"/api/v1/transitions?kind=planet&id=mars":                                      {"2", "1"},
			"/api/v1/transitions?field=moons":                                              {"1"},
			"/api/v1/transitions?actor=system":                                             {"5"},
			"/api/v1/transitions?run=r1":                                                   nil,
			"/api/v1/transitions?from=2026-11-24T05:02:45Z&kind=probe":                     {"5"},
			"/api/v1/transitions?to=2026-11-24T05:01:45Z":                                  {"1"},
			"/api/v1/transitions?from=2026-11-24T06:01:45%2B01:00&to=2026-11-24T05:02:00Z": {"2"},
			"/api/v1/entities/planet/mars/transitions?field=status":                        {"2", "1"},
			"/api/v1/entities/planet/none/transitions":                                     nil,
			"/api/v1/events?kind=probe&entity=p1":                                          {"7"},
			"/api/v1/events?name=custom.deployed":                                          {"8"},
			"/api/v1/decisions?event=e2":                                                   {"4"},
			"/api/v1/runs?rule=off":                                                        {"r2"},
			"/api/v1/runs?event=e1":                                                        {"r1"},
		} {
			t.Run(target, func(t *testing.T) {
				var list struct{ Items []map[string]any }
				f.as(plugins.Viewer, "GET", target, "").want(200).into(&list)
				var got []string
				for _, item := range list.Items {
					key := item["seq"]
					if key == nil {
						key = item["id"]
					}
					got = append(got, fmt.Sprint(key))
				}
				if !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		}
	})
}

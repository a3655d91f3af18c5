package entities_test

import (
	"context"
	"io/fs"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

// named has a name and a status.
type named struct {
	Name   string `json:"name"`
	Status string `json:"status,omitempty"`
}

func (n *node) found(t *testing.T, s entities.Search) (ids []string, last string) {
	t.Helper()
	s.Kind = "lamp"
	if s.Limit == 0 {
		s.Limit = 100
	}
	list, err := n.kinds.Find(t.Context(), n.db.Read(), s)
	must(t, err)
	for _, e := range list {
		ids, last = append(ids, e.ID), s.Cursor(e)
	}
	return ids, last
}

func TestFind(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		n := open(t, url)
		lamps := define(t, n, entities.Spec[named]{Name: "lamp", Doc: "A lamp."})
		for id, l := range map[string]named{
			"a1": {"Kitchen_North", "on"}, "a2": {"Kitchen South", "off"}, "b1": {"Hall 100%", "on"}, "b2": {"", ""}, "KITCHEN-3": {"x", "on"}, "gone": {"Kitchen", "on"},
		} {
			_, err := lamps.Mutate(t.Context(), id, func(context.Context, bun.Tx, *named) (named, error) { return l, nil })
			must(t, err)
		}
		must(t, lamps.Remove(t.Context(), "gone", nil))

		for name, c := range map[string]struct {
			search entities.Search
			want   []string
		}{
			"all":                       {entities.Search{}, []string{"KITCHEN-3", "a1", "a2", "b1", "b2"}},
			"in ids and names":          {entities.Search{Text: "kitchen"}, []string{"KITCHEN-3", "a1", "a2"}},
			"whatever the case":         {entities.Search{Text: "KITCHEN s"}, []string{"a2"}},
			"an underscore is a text":   {entities.Search{Text: "n_n"}, []string{"a1"}},
			"and no wildcard":           {entities.Search{Text: "h_n"}, nil},
			"a percent sign is a text":  {entities.Search{Text: "0%"}, []string{"b1"}},
			"and no wildcard either":    {entities.Search{Text: "k%n"}, nil},
			"by status":                 {entities.Search{Status: "on"}, []string{"KITCHEN-3", "a1", "b1"}},
			"by status and text":        {entities.Search{Status: "on", Text: "kitchen"}, []string{"KITCHEN-3", "a1"}},
			"nothing":                   {entities.Search{Text: "cellar"}, nil},
			"after the first of a text": {entities.Search{Text: "kitchen", After: "a1 kitchen_north"}, []string{"a2", "KITCHEN-3"}},
		} {
			got, _ := n.found(t, c.search)
			slices.Sort(got)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}

		t.Run("pages have each entity once", func(t *testing.T) {
			for _, search := range []entities.Search{{}, {Text: "kitchen"}, {Status: "on"}} {
				want, _ := n.found(t, search)
				var got []string
				search.Limit = 1
				for {
					page, last := n.found(t, search)
					if page == nil {
						break
					}
					got, search.After = append(got, page...), last
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%+v (-want +got):\n%s", search, diff)
				}
			}
		})

		t.Run("statuses are counted", func(t *testing.T) {
			got, err := n.kinds.Statuses(t.Context(), n.db.Read())
			must(t, err)
			want := map[string]map[string]int64{"lamp": {"on": 3, "off": 1, "": 1}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	})
}

func TestWhatWasThereBeforeIsFound(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		d, err := db.Open(t.Context(), url, db.Options{NoSync: true})
		must(t, err)
		t.Cleanup(func() { must(t, d.Close()) })
		all := entities.Migrations()
		first, err := fs.ReadFile(all.Files, "0001_entities.sql")
		must(t, err)
		must(t, d.Migrate(t.Context(), timer.Migrations(), outbox.Migrations(),
			db.Migrations{Owner: all.Owner, Files: fstest.MapFS{"0001_entities.sql": {Data: first}}}))
		must(t, d.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewRaw(`INSERT INTO entities (kind, id, version, state, since, updated_at) VALUES
				('lamp', 'A1', 1, '{"name":"Kitchen","status":"on"}', '{}', 1), ('lamp', 'b', 1, '{"name":7,"status":{}}', '{}', 1), ('lamp', 'c', 2, NULL, NULL, 1)`).Exec(ctx)
			return err
		}))
		must(t, d.Migrate(t.Context(), all))

		var rows []struct{ ID, Search, Status string }
		must(t, d.Read().NewRaw("SELECT id, COALESCE(search, 'none') AS search, COALESCE(status, 'none') AS status FROM entities ORDER BY lower(id)").Scan(t.Context(), &rows))
		want := []struct{ ID, Search, Status string }{{"A1", "a1 kitchen", "on"}, {"b", "b ", "none"}, {"c", "none", "none"}}
		if diff := cmp.Diff(want, rows); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

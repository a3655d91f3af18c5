package journal_test

import (
	"strings"
	"testing"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
)

func TestListsOfRunsUseIndexes(t *testing.T) {
	d, err := db.Open(t.Context(), dbtest.SQLite(t), db.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := d.Migrate(t.Context(), timer.Migrations(), journal.Migrations()); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{
		"SELECT * FROM runs ORDER BY id DESC LIMIT 51",
		"SELECT * FROM runs WHERE id < 'a' ORDER BY id DESC LIMIT 51",
		"SELECT * FROM runs WHERE rule = 'a' AND id < 'a' ORDER BY id DESC LIMIT 51",
		"SELECT * FROM runs WHERE status = 'a' ORDER BY id DESC LIMIT 51",
		"SELECT * FROM runs WHERE dead ORDER BY id DESC LIMIT 51",
		"SELECT * FROM runs WHERE rule || '' = 'a' AND dead ORDER BY id DESC LIMIT 51",
		"SELECT count(*) FROM runs WHERE dead",
		"SELECT * FROM steps WHERE run_id = 'a' ORDER BY position",
	} {
		var plan []struct {
			ID, Parent, Notused int
			Detail              string
		}
		if err := d.Read().NewRaw("EXPLAIN QUERY PLAN "+query).Scan(t.Context(), &plan); err != nil {
			t.Fatal(err)
		}
		for _, line := range plan {
			whole := strings.HasPrefix(line.Detail, "SCAN") && !strings.Contains(line.Detail, "INDEX")
			sorted := strings.Contains(line.Detail, "TEMP B-TREE") && !strings.Contains(query, "FROM steps") // those of one run
			wrong := strings.Contains(query, "dead") && !strings.Contains(line.Detail, "runs_dead")
			if whole || sorted || wrong {
				t.Errorf("%s: %s", query, line.Detail)
			}
		}
	}
}

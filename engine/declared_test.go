package engine_test

import (
	"errors"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// backupRules is the example of docs/how-to/declare-a-kind.md.
func backupRules(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/how-to/declare-a-kind.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("the page has no example")
	}
	return text
}

// backups is an engine with the example.
type backups struct {
	*enginetest.Engine
	t     *testing.T
	rules string
}

func eachBackups(t *testing.T, fn func(t *testing.T, b *backups)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, url string) {
		rules := backupRules(t)
		fn(t, &backups{enginetest.Start(t, enginetest.Options{URL: url, Rules: rules}), t, rules})
	})
}

func (b *backups) put(id string, set map[string]any) entities.Entity {
	b.t.Helper()
	e, err := b.Entities.Put(b.t.Context(), "backup", id, func(prev entities.View) (map[string]any, error) {
		next := map[string]any{}
		maps.Copy(next, prev)
		maps.Copy(next, set)
		return next, nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Settle()
	return e
}

func (b *backups) status(id string) any {
	b.t.Helper()
	view, err := b.Entities.State(b.t.Context(), b.DB.Read(), "backup", id)
	if err != nil {
		b.t.Fatal(err)
	}
	return view["status"]
}

// logged is what the runs of a rule have logged.
func (b *backups) logged(rule string) []string {
	b.t.Helper()
	texts := []string{}
	for _, run := range b.Runs(rule) {
		for _, s := range b.Steps(run.ID) {
			texts = append(texts, string(s.Input))
		}
	}
	return texts
}

func (b *backups) wantLogged(rule string, want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), b.logged(rule)); diff != "" {
		b.t.Errorf("runs of %s (-want +got):\n%s", rule, diff)
	}
}

const (
	crmFailed  = `{"level":"warn","text":"the backup of crm failed"}`
	crmMissing = `{"level":"error","text":"there is no backup of crm"}`
	crmStays   = `{"level":"error","text":"nobody looks after the backup of crm"}`
)

func TestADeclaredKindFiresRules(t *testing.T) {
	eachBackups(t, func(t *testing.T, b *backups) {
		if e := b.put("crm", map[string]any{"size_mb": 12}); e.State["status"] != "ok" {
			t.Errorf("the default is missing: %+v", e)
		}
		b.wantLogged("backup-failed")
		b.put("crm", map[string]any{"status": "failed"})
		b.put("crm", map[string]any{"status": "failed", "size_mb": 13})
		b.wantLogged("backup-failed", crmFailed)
		events := b.Events("backup.failed")
		if len(events) != 1 || string(events[0].Payload) != `{"database":"crm","size_mb":12}` {
			t.Errorf("%d events, the first %s", len(events), events[0].Payload)
		}
		b.Advance(6 * time.Hour)
		b.wantLogged("backup-stays-bad", crmStays)
		b.Advance(20*time.Hour - time.Microsecond)
		b.wantLogged("backup-overdue")
		b.Advance(time.Microsecond)
		b.wantLogged("backup-overdue", crmMissing)

		if err := b.Entities.Delete(t.Context(), "backup", "crm"); err != nil {
			t.Fatal(err)
		}
		b.Settle()
		if failed := b.Events("engine.deriver_failed"); len(failed) > 0 {
			t.Errorf("a removal has no next state, and that failed: %s", failed[0].Payload)
		}
	})
}

func TestADeclaredKindBecomesStaleAcrossRestarts(t *testing.T) {
	eachBackups(t, func(t *testing.T, b *backups) {
		b.put("crm", map[string]any{"status": "ok"})
		b.Advance(20 * time.Hour)
		b.put("crm", map[string]any{"status": "ok"}) // changes nothing
		b.Restart()
		b.Advance(26*time.Hour - time.Microsecond)
		if got := b.status("crm"); got != "ok" {
			t.Fatalf("it is %v too early", got)
		}
		b.Jump(48 * time.Hour) // the engine is down when it comes due
		b.Restart()
		if got := b.status("crm"); got != "overdue" {
			t.Fatalf("it is %v", got)
		}
		b.wantLogged("backup-overdue", crmMissing)
		b.Advance(100 * time.Hour)
		b.wantLogged("backup-overdue", crmMissing)
		if d := b.Decisions("backup-overdue"); len(d) != 1 {
			t.Errorf("%d decisions", len(d))
		}
	})
}

func TestAnEditOfAfterMovesTheDeadlines(t *testing.T) {
	eachBackups(t, func(t *testing.T, b *backups) {
		b.put("crm", nil)
		b.Advance(2 * time.Hour)
		b.Reload(strings.Replace(b.rules, "after: 26h", "after: 3h", 1))
		b.Advance(time.Hour - time.Microsecond)
		if got := b.status("crm"); got != "ok" {
			t.Fatalf("it is %v too early", got)
		}
		b.Advance(time.Microsecond)
		b.wantLogged("backup-overdue", crmMissing)
	})
}

func TestAKindThatBreaksStoredStatesIsRefused(t *testing.T) {
	eachBackups(t, func(t *testing.T, b *backups) {
		b.put("crm", map[string]any{"status": "failed"})
		broken := strings.Replace(b.rules, "required: [status]", "required: [status, size_mb]", 1)
		broken = strings.Replace(broken, "id: backup-failed", "id: other", 1)
		err := b.TryReload(broken)
		var problems *yamlx.Error
		if !errors.As(err, &problems) || len(problems.Problems) != 1 {
			t.Fatalf("%v", err)
		}
		want := `rules.yaml:2:11: kind backup: stored states do not fit: crm (size_mb: is required)
      - name: backup
              ^
    hint: bring the states in line first, or leave the fields as they were`
		if diff := cmp.Diff(want, problems.Problems[0].String()); diff != "" {
			t.Error(diff)
		}
		if b.Engine.Engine.Rules().Rule("other") != nil {
			t.Error("a rule of the refused file is in force")
		}
		b.put("crm", map[string]any{"status": "ok"}) // without a size, as before
		b.put("crm", map[string]any{"status": "failed"})
		b.wantLogged("backup-failed", crmFailed, crmFailed)
	})
}

func TestAKindThatLeavesTakesItsEventsWithIt(t *testing.T) {
	eachBackups(t, func(t *testing.T, b *backups) {
		b.put("crm", nil)
		b.Reload("rules: []")
		if _, ok := b.Core.Events.Kind("backup"); ok {
			t.Error("the kind is known")
		}
		if _, err := b.Core.Events.Lookup("backup.failed"); err == nil {
			t.Error("its event is known")
		}
		b.Advance(27 * time.Hour) // its deadline stops nothing
		b.Reload(b.rules)
		if got := b.status("crm"); got != "overdue" {
			t.Errorf("it is %v", got)
		}
	})
}

package agent_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/flightrules/flightrules/plugins/satellite/agent"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func item(n int) protocol.Item {
	return protocol.Item{Capability: "probe", Assignment: "a", At: noon, Payload: json.RawMessage(fmt.Sprint(n))}
}

func open(t *testing.T, dir string, most int64) agent.Memory {
	t.Helper()
	m, err := agent.OpenMemory(t.Context(), dir, most)
	must(t, err)
	return m
}

// numbers are the payloads of results.
func numbers(t *testing.T, r protocol.Results) (list []int) {
	t.Helper()
	for _, i := range r.Items {
		var n int
		must(t, json.Unmarshal(i.Payload, &n))
		list = append(list, n)
	}
	return list
}

func batch(t *testing.T, m agent.Memory) protocol.Results {
	t.Helper()
	r, err := m.Batch(t.Context())
	must(t, err)
	return r
}

func TestMemory(t *testing.T) {
	t.Run("keeps results over restarts, and goes on counting", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "new")
		m := open(t, dir, 0)
		must(t, m.Add(t.Context(), noon, item(1)))
		must(t, m.Add(t.Context(), noon, item(2)))
		first := batch(t, m)
		must(t, m.Delivered(t.Context(), first.Stream, 2))
		must(t, m.Close())
		m = open(t, dir, 0)
		must(t, m.Add(t.Context(), noon, item(3)))
		got := batch(t, m)
		if got.Stream != first.Stream || first.Seq != 1 || got.Seq != 3 || fmt.Sprint(numbers(t, got)) != "[3]" {
			t.Errorf("%+v after %+v", got, first)
		}
		if count, size := m.Size(); count != 1 || size <= 0 {
			t.Errorf("%d results of %d bytes", count, size)
		}
		must(t, m.Close())
	})
	t.Run("forgets what was delivered, and of its own stream alone", func(t *testing.T) {
		m := open(t, t.TempDir(), 0)
		defer func() { must(t, m.Close()) }()
		for n := range 3 {
			must(t, m.Add(t.Context(), noon, item(n)))
		}
		must(t, m.Delivered(t.Context(), "another", 3))
		must(t, m.Delivered(t.Context(), batch(t, m).Stream, 2))
		must(t, m.Delivered(t.Context(), batch(t, m).Stream, 2))
		if got := batch(t, m); got.Seq != 3 || fmt.Sprint(numbers(t, got)) != "[2]" {
			t.Errorf("got %+v", got)
		}
		must(t, m.Delivered(t.Context(), batch(t, m).Stream, 3))
		if count, size := m.Size(); count != 0 || size != 0 {
			t.Errorf("%d results of %d bytes", count, size)
		}
	})
	t.Run("sends as much as a frame holds", func(t *testing.T) {
		m := open(t, t.TempDir(), 0)
		defer func() { must(t, m.Close()) }()
		large := item(0)
		large.Payload = json.RawMessage(`"` + fmt.Sprintf("%060000d", 0) + `"`)
		for range 20 {
			must(t, m.Add(t.Context(), noon, large))
		}
		frame, err := protocol.Encode(batch(t, m))
		must(t, err)
		if len(frame) > protocol.MaxFrame || len(frame) < protocol.MaxFrame/3 {
			t.Errorf("%d bytes", len(frame))
		}
	})
	t.Run("loses the oldest when there is no more room, and counts them", func(t *testing.T) {
		m := open(t, t.TempDir(), 10_000)
		defer func() { must(t, m.Close()) }()
		for n := range 1000 {
			must(t, m.Add(t.Context(), noon, item(n)))
			if _, size := m.Size(); size > 10_000 {
				t.Fatalf("%d bytes after %d", size, n)
			}
		}
		count, _ := m.Size()
		got := batch(t, m)
		if count < 50 || got.Dropped != 1000-count || got.Seq != got.Dropped+1 || numbers(t, got)[0] != int(got.Dropped) {
			t.Errorf("%d are left, of which the first is %d; %d dropped", count, got.Seq, got.Dropped)
		}
	})
	t.Run("loses what is older than a week", func(t *testing.T) {
		m := open(t, t.TempDir(), 0)
		defer func() { must(t, m.Close()) }()
		for day := range 10 {
			must(t, m.Add(t.Context(), noon.AddDate(0, 0, day), item(day)))
		}
		if got := batch(t, m); fmt.Sprint(numbers(t, got)) != "[2 3 4 5 6 7 8 9]" || got.Dropped != 2 {
			t.Errorf("got %v, %d dropped", numbers(t, got), got.Dropped)
		}
	})
	t.Run("drops a result that the disk has changed", func(t *testing.T) {
		dir := t.TempDir()
		m := open(t, dir, 0)
		for n := range 3 {
			must(t, m.Add(t.Context(), noon, item(n)))
		}
		must(t, m.Close())
		change(t, dir, "UPDATE results SET item = REPLACE(item, '\"payload\":1', '\"payload\":7') WHERE seq = 2")
		m = open(t, dir, 0)
		defer func() { must(t, m.Close()) }()
		var got []int
		for r := batch(t, m); len(r.Items) > 0; r = batch(t, m) {
			got = append(got, numbers(t, r)...)
			must(t, m.Delivered(t.Context(), r.Stream, r.Seq+int64(len(r.Items))-1))
		}
		if fmt.Sprint(got) != "[0 2]" || batch(t, m).Dropped != 1 {
			t.Errorf("got %v, %d dropped", got, batch(t, m).Dropped)
		}
	})
	t.Run("that is damaged is put aside, and another begun", func(t *testing.T) {
		for name, damage := range map[string]func(b []byte) []byte{
			"garbage": func(b []byte) []byte { return make([]byte, len(b)) },
			"no database": func([]byte) []byte {
				return []byte("this is a text that somebody has put in the place of the database")
			},
			"a hole": func(b []byte) []byte { clear(b[200:]); return b },
		} {
			dir := t.TempDir()
			m := open(t, dir, 0)
			must(t, m.Add(t.Context(), noon, item(1)))
			before := batch(t, m).Stream
			must(t, m.Close())
			path := filepath.Join(dir, "memory.db")
			b, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, damage(b), 0o600))
			m = open(t, dir, 0)
			if got := batch(t, m); got.Stream == before || len(got.Items) > 0 {
				t.Errorf("%s: got %+v", name, got)
			}
			must(t, m.Add(t.Context(), noon, item(2)))
			must(t, m.Close())
			if _, err := os.Stat(path + ".corrupt"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("belongs to one agent", func(t *testing.T) {
		dir := t.TempDir()
		m := open(t, dir, 0)
		defer func() { must(t, m.Close()) }()
		if _, err := agent.OpenMemory(t.Context(), dir, 0); err == nil {
			t.Error("it was opened twice")
		}
	})
}

// change writes to the memory's tables behind its back.
func change(t *testing.T, dir, query string) {
	t.Helper()
	d, err := sql.Open("sqlite", filepath.Join(dir, "memory.db"))
	must(t, err)
	res, err := d.ExecContext(t.Context(), query)
	must(t, err)
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%d rows, %v", n, err)
	}
	must(t, d.Close())
}

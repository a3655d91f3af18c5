package secrets_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/action"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/engine/timer"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/clock"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/secrets"
	"github.com/flightrules/flightrules/triggers"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// node is a process with the plugin.
type node struct {
	*clock.Manual
	t   *testing.T
	db  *db.DB
	set *plugins.Set
	api *http.ServeMux
	log bytes.Buffer
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, url string, c secrets.Config) *node {
	t.Helper()
	d, err := db.Open(t.Context(), url, db.Options{NoSync: true})
	must(t, err)
	n := &node{Manual: clock.At(start), t: t, db: d, api: http.NewServeMux()}
	log := slog.New(slog.NewTextHandler(&n.log, nil))
	timers := timer.New(d, n.Now, log, nil)
	kinds := entities.NewRegistry(d, n.Now, log, timers)
	n.set, err = plugins.NewSet(plugins.Services{
		DB: d, Entities: kinds, Events: triggers.NewCatalogue(kinds), Timers: timers, Actions: action.NewSet(), Now: n.Now, Log: log,
	}, secrets.New(c))
	must(t, err)
	must(t, d.Migrate(t.Context(), append([]db.Migrations{timer.Migrations(), outbox.Migrations(), entities.Migrations()}, n.set.Migrations()...)...))
	must(t, n.set.Init(t.Context()))
	api := humago.New(n.api, huma.DefaultConfig("test", "1"))
	for _, register := range n.set.Operations() {
		register(api)
	}
	t.Cleanup(n.close)
	return n
}

// close ends the process; a database file has one at a time.
func (n *node) close() {
	if n.db == nil {
		return
	}
	must(n.t, n.db.Close())
	n.db = nil
}

// again is another process on the same database.
func (n *node) again(url string, c secrets.Config) *node {
	n.close()
	return open(n.t, url, c)
}

// load has files with these items.
func (n *node) load(items ...secrets.Declaration) error {
	section := n.set.Sections()[0]
	var list []any
	for _, item := range items {
		if err := section.Check(item); err != nil {
			return err
		}
		list = append(list, item)
	}
	return n.set.Apply(map[string][]any{"secrets": list})
}

// secret is the value of a secret, or why there is none.
func (n *node) secret(name string) string {
	value, err := n.set.Secret(n.t.Context(), name, "test")
	if err != nil {
		return "error: " + err.Error()
	}
	return value
}

// call calls the API; the answer is to have that status and that part.
func (n *node) call(want int, method, path, body, part string) {
	n.t.Helper()
	r := httptest.NewRequestWithContext(n.t.Context(), method, "/api/v1/"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	n.api.ServeHTTP(w, r)
	if w.Code != want || !strings.Contains(w.Body.String(), part) {
		n.t.Errorf("%s %s: %d %s; want %d and %s", method, path, w.Code, w.Body, want, part)
	}
}

// dump is all that the database holds of secrets.
func (n *node) dump() string {
	n.t.Helper()
	var out strings.Builder
	for _, table := range []string{"stored_secrets", "secret_uses"} {
		var rows []map[string]any
		must(n.t, n.db.Read().NewSelect().Table(table).Scan(n.t.Context(), &rows))
		fmt.Fprintln(&out, rows)
	}
	return out.String()
}

func (n *node) sql(query string) {
	n.t.Helper()
	must(n.t, n.db.Write(n.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.ExecContext(ctx, query)
		return err
	}))
}

func keys(t *testing.T, list ...string) []secrets.Key {
	t.Helper()
	parsed, err := secrets.ParseKeys(strings.Join(list, "\n"))
	must(t, err)
	return parsed
}

func TestStoredSecrets(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		one, two := secrets.NewKey(), secrets.NewKey()
		n := open(t, url, secrets.Config{Keys: keys(t, one)})
		n.call(204, "PUT", "secrets/PAGER", `{"value": "hunter2"}`, "")
		n.call(204, "PUT", "secrets/other", `{"value": "hunter2"}`, "")
		if got := n.secret("PAGER"); got != "hunter2" {
			t.Errorf("got %s", got)
		}
		if d := n.dump(); strings.Contains(d, "hunter2") || strings.Contains(d, "aHVudGVyMg") {
			t.Errorf("the value can be read: %s", d)
		}
		var sealed []string
		must(t, n.db.Read().NewSelect().Table("stored_secrets").Column("sealed").Scan(t.Context(), &sealed))
		if len(sealed) != 2 || sealed[0] == sealed[1] {
			t.Error("the same value is the same row twice")
		}

		// Another value takes its place; nothing shows either.
		n.call(204, "PUT", "secrets/PAGER", `{"value": "hunter3"}`, "")
		if got := n.secret("PAGER"); got != "hunter3" {
			t.Errorf("got %s", got)
		}
		n.call(200, "GET", "secrets", "", `{"name":"PAGER","source":"stored","from":"","declared":false,"readable":true,"problem":"","old_key":false,"updated_at":"2026-03-01T12:00:00Z"}`)

		// A new key: the old one goes on reading until everything is rotated.
		n = n.again(url, secrets.Config{Keys: keys(t, two, one)})
		n.call(200, "GET", "secrets", "", `"old_key":true`)
		if got := n.secret("PAGER"); got != "hunter3" {
			t.Errorf("got %s", got)
		}
		n.call(204, "PUT", "secrets/other", `{"value": "hunter4"}`, "")
		n.call(200, "POST", "secrets/rotate", "", `"rotated":1`)
		n.call(200, "POST", "secrets/rotate", "", `"rotated":0`)
		n = n.again(url, secrets.Config{Keys: keys(t, two)})
		if got := n.secret("PAGER") + n.secret("other"); got != "hunter3hunter4" {
			t.Errorf("after the rotation: %s", got)
		}

		// Without its key nothing is given, and that is told at the start.
		n = n.again(url, secrets.Config{Keys: keys(t, one)})
		if got := n.secret("PAGER"); !strings.Contains(got, "which the engine was not given") {
			t.Errorf("got %s", got)
		}
		if !strings.Contains(n.log.String(), "stored secrets cannot be read") || !strings.Contains(n.log.String(), "PAGER") {
			t.Errorf("the log says %s", &n.log)
		}
		n.call(409, "POST", "secrets/rotate", "", "secret PAGER: it is encrypted with the key")
		n.call(204, "DELETE", "secrets/PAGER", "", "")
		n.call(404, "DELETE", "secrets/PAGER", "", "no such stored secret")
		if got := n.secret("PAGER"); !strings.HasPrefix(got, "error: secret PAGER: there is none: it is not stored") {
			t.Errorf("got %s", got)
		}
	})
}

// A rotation that cannot be finished changes nothing.
func TestARotationIsWhole(t *testing.T) {
	url := dbtest.SQLite(t)
	one, two, three := secrets.NewKey(), secrets.NewKey(), secrets.NewKey()
	n := open(t, url, secrets.Config{Keys: keys(t, one)})
	n.call(204, "PUT", "secrets/a", `{"value": "1"}`, "")
	n = n.again(url, secrets.Config{Keys: keys(t, two)})
	n.call(204, "PUT", "secrets/b", `{"value": "2"}`, "")
	n = n.again(url, secrets.Config{Keys: keys(t, three, one)})
	n.call(409, "POST", "secrets/rotate", "", "secret b")
	n = n.again(url, secrets.Config{Keys: keys(t, two, one)})
	if got := n.secret("a") + n.secret("b"); got != "12" {
		t.Errorf("got %s", got)
	}
}

// Who can write to the database can neither read a secret, nor put one in the
// place of another, nor make one.
func TestATamperedRow(t *testing.T) {
	n := open(t, dbtest.SQLite(t), secrets.Config{Keys: keys(t, secrets.NewKey())})
	n.call(204, "PUT", "secrets/harmless", `{"value": "hello"}`, "")
	n.call(204, "PUT", "secrets/token", `{"value": "hunter2"}`, "")
	for _, sealed := range []string{"(SELECT sealed FROM stored_secrets WHERE name = 'token')", "'AAAA'", "'%'", "''"} {
		n.sql("UPDATE stored_secrets SET sealed = " + sealed + " WHERE name = 'harmless'")
		if got := n.secret("harmless"); !strings.Contains(got, "damaged") || strings.Contains(got, "hunter2") {
			t.Errorf("%s: got %s", sealed, got)
		}
	}
	if got := n.secret("token"); got != "hunter2" {
		t.Errorf("got %s", got)
	}
}

func TestWithoutAKey(t *testing.T) {
	n := open(t, dbtest.SQLite(t), secrets.Config{})
	n.call(409, "PUT", "secrets/a", `{"value": "x"}`, "flightrules secrets key makes one")
	n.call(409, "POST", "secrets/rotate", "", "no key")
	n.call(422, "PUT", "secrets/a-b", `{"value": "x"}`, "letters, digits and underscores")
	n.call(422, "PUT", "secrets/a", `{"value": ""}`, "length")
}

func TestKeys(t *testing.T) {
	good := secrets.NewKey()
	if other := secrets.NewKey(); other == good {
		t.Error("two keys are the same")
	}
	for text, want := range map[string]string{
		"": "0", good: "1", good + "\n" + secrets.NewKey() + "\n": "2", good + ", " + good: "2",
		"short": "key 1 is not 32 bytes in base64", good + " AAAA": "key 2 is not 32 bytes in base64",
	} {
		list, err := secrets.ParseKeys(text)
		got := fmt.Sprint(len(list))
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestWhereSecretsAre(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) { must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)) }
	write("pager", "from a file\n")
	write("lines", "one\ntwo\r\n")
	write("empty", "\n")
	write("huge", strings.Repeat("x", secrets.MaxValue+1))
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "out")))
	t.Setenv("SHOP_KEY", "from a variable")
	t.Setenv("NOTHING", "")
	t.Setenv("FLIGHTRULES_SECRET_pager", "from the environment")
	t.Setenv("FLIGHTRULES_SECRET_plain", "from the environment")

	n := open(t, dbtest.SQLite(t), secrets.Config{Dir: dir, Keys: keys(t, secrets.NewKey())})
	n.call(204, "PUT", "secrets/both", `{"value": "from the database"}`, "")
	write("both", "from a file")
	must(t, n.load(
		secrets.Declaration{Name: "shop", Env: "SHOP_KEY"}, secrets.Declaration{Name: "unset", Env: "NOT_THERE"}, secrets.Declaration{Name: "nothing", Env: "NOTHING"},
		secrets.Declaration{Name: "PAGER", File: "pager"}, secrets.Declaration{Name: "lines", File: "lines"}, secrets.Declaration{Name: "gone", File: "gone"},
		secrets.Declaration{Name: "empty", File: "empty"}, secrets.Declaration{Name: "huge", File: "huge"}, secrets.Declaration{Name: "out", File: "out"},
		secrets.Declaration{Name: "kept", Stored: true},
	))
	got := map[string]string{}
	for _, name := range []string{"shop", "unset", "nothing", "PAGER", "lines", "gone", "empty", "huge", "out", "kept", "both", "pager", "plain", "none"} {
		got[name] = n.secret(name)
	}
	want := map[string]string{
		"shop": "from a variable", "unset": "error: secret unset: the variable NOT_THERE is not set", "nothing": "error: secret nothing: it is empty",
		"PAGER": "from a file", "lines": "one\ntwo", "gone": "error: secret gone: openat gone: no such file or directory", "empty": "error: secret empty: it is empty",
		"huge": "error: secret huge: the file huge is longer than 64 KiB", "out": "error: secret out: openat out: path escapes from parent",
		"kept": "error: secret kept: it is not stored",
		// Not declared: the database, then the folder, then the environment.
		"both": "from the database", "pager": "from a file", "plain": "from the environment",
		"none": "error: secret none: there is none: it is not stored, no file has its name, and FLIGHTRULES_SECRET_none is not set",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	n.call(200, "GET", "secrets", "", `{"name":"shop","source":"env","from":"SHOP_KEY","declared":true,"readable":true,"problem":"","old_key":false,"updated_at":null}`)
	n.call(200, "GET", "secrets", "", `"problem":"secret gone: openat gone: no such file or directory"`)

	// What the files do not declare any more is looked for everywhere again.
	must(t, n.load())
	if got := n.secret("shop"); !strings.Contains(got, "there is none") {
		t.Errorf("got %s", got)
	}
	if got := open(t, dbtest.SQLite(t), secrets.Config{}).secret("lines"); !strings.Contains(got, "there is none") {
		t.Errorf("without a folder: %s", got)
	}
}

func TestBadDeclarations(t *testing.T) {
	n := open(t, dbtest.SQLite(t), secrets.Config{})
	for _, c := range []struct {
		d    secrets.Declaration
		says string
	}{
		{secrets.Declaration{Name: "a-b", Stored: true}, "name: write at most"},
		{secrets.Declaration{Name: "a"}, "one of env, file and stored is wanted"},
		{secrets.Declaration{Name: "a", Env: "A", Stored: true}, "one of env, file and stored is wanted"},
		{secrets.Declaration{Name: "a", Env: "A=B"}, "env: this is no name"},
		{secrets.Declaration{Name: "a", Env: "FLIGHTRULES_SECRETS_KEY"}, "env: this variable is the engine's own"},
		{secrets.Declaration{Name: "a", File: "../a"}, "file: write the name"},
		{secrets.Declaration{Name: "a", File: "/etc/passwd"}, "file: write the name"},
	} {
		if err := n.load(c.d); err == nil || !strings.HasPrefix(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %s", c.d, err, c.says)
		}
	}
	must(t, n.load(secrets.Declaration{Name: "a", Env: "FLIGHTRULES_SECRET_b"}))
	if got := n.secret("a"); got != "error: secret a: the variable FLIGHTRULES_SECRET_b is not set" {
		t.Errorf("got %s", got)
	}
}

func TestUsesAreOnRecord(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		t.Setenv("FLIGHTRULES_SECRET_a", "hunter2")
		n := open(t, url, secrets.Config{KeepUses: 24 * time.Hour})
		use := func(name, by string) { _, _ = n.set.Secret(t.Context(), name, by) } // what it gives is not the matter
		use("a", "satellite:edge-1 check:shop")
		n.Add(time.Minute)
		use("b", "rule:page run:1")
		n.Add(time.Minute)
		use("a", strings.Repeat("x", 1000))
		if d := n.dump(); strings.Contains(d, "hunter2") {
			t.Errorf("a value is on record: %s", d)
		}
		var got struct {
			Items []secrets.UseItem
			Next  *string
		}
		read := func(query string) {
			t.Helper()
			w := httptest.NewRecorder()
			n.api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/secret-uses"+query, nil))
			got.Items, got.Next = nil, nil
			must(t, json.Unmarshal(w.Body.Bytes(), &got))
		}
		read("?limit=2")
		want := []secrets.UseItem{
			{At: start.Add(2 * time.Minute), Name: "a", By: strings.Repeat("x", 500), Source: "env"},
			{
				At: start.Add(time.Minute), Name: "b", By: "rule:page run:1",
				Error: "secret b: there is none: it is not stored, no file has its name, and FLIGHTRULES_SECRET_b is not set",
			},
		}
		if diff := cmp.Diff(want, got.Items); diff != "" || got.Next == nil {
			t.Fatal(diff, got.Next)
		}
		read("?after=" + *got.Next)
		if len(got.Items) != 1 || got.Items[0].By != "satellite:edge-1 check:shop" || got.Next != nil {
			t.Errorf("got %+v", got)
		}
		read("?name=b")
		if len(got.Items) != 1 || got.Items[0].Name != "b" {
			t.Errorf("got %+v", got)
		}
		n.call(422, "GET", "secret-uses?after=x", "", "not what a list gave")

		// Old ones go, and looking at the list is no use.
		n.call(200, "GET", "secrets", "", "items")
		n.Add(24*time.Hour - 30*time.Second)
		use("a", "later")
		read("")
		if len(got.Items) != 2 || got.Items[0].By != "later" {
			t.Errorf("a day later: %+v", got)
		}
	})
}

// A secret whose use cannot be put on record is not given.
func TestAUseThatCannotBeNoted(t *testing.T) {
	t.Setenv("FLIGHTRULES_SECRET_a", "hunter2")
	n := open(t, dbtest.SQLite(t), secrets.Config{})
	n.sql("DROP TABLE secret_uses")
	if got := n.secret("a"); !strings.Contains(got, "its use cannot be noted") || strings.Contains(got, "hunter2") {
		t.Errorf("got %s", got)
	}
}

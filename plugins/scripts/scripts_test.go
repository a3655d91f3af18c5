package scripts_test

import (
	"bytes"
	"encoding/json"
	"fmt"
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

	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/internal/bundle"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite"
	"github.com/flightrules/flightrules/plugins/scripts"
)

// library is an engine with satellites and scripts.
type library struct {
	*enginetest.Engine
	t      *testing.T
	plugin *scripts.Plugin // of the newest start
}

func open(t *testing.T, url, files string) *library {
	t.Helper()
	l := &library{t: t}
	l.Engine = enginetest.Start(t, enginetest.Options{URL: url, Rules: files, Worlds: true, Plugins: func() []plugins.Plugin {
		l.plugin = scripts.New()
		return []plugins.Plugin{satellite.New(satellite.Config{}), l.plugin}
	}})
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (l *library) given(name, region string) {
	l.t.Helper()
	must(l.t, l.Given(l.t.Context(), "satellite", map[string]any{"id": name, "name": name, "region": region}))
	l.Settle()
}

// call calls the API; the answer is to have that status and that part.
func (l *library) call(status int, method, path string, body []byte, part string) (answer map[string]any) {
	l.t.Helper()
	mux := http.NewServeMux()
	l.plugin.Operations(humago.New(mux, huma.DefaultConfig("test", "1")))
	r := httptest.NewRequestWithContext(l.t.Context(), method, "/api/v1/scripts"+path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/gzip")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	if w.Code != status || !strings.Contains(w.Body.String(), part) {
		l.t.Fatalf("%s %s: %d %s; want %d and %s", method, path, w.Code, w.Body, status, part)
	}
	if w.Body.Len() > 0 {
		must(l.t, json.Unmarshal(w.Body.Bytes(), &answer))
	}
	l.Settle()
	return answer
}

// publish publishes files, and gives the hash of the version.
func (l *library) publish(name string, files map[string]string) string {
	l.t.Helper()
	return l.call(200, "PUT", "/"+name, packed(l.t, files), `"hash"`)["hash"].(string)
}

func packed(t *testing.T, files map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	for path, content := range files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o755))
	}
	archive, err := bundle.Pack(dir)
	must(t, err)
	return archive
}

// has is what a satellite is to have: each file with its content, as its agent
// would fetch it.
func (l *library) has(name string) map[string]string {
	l.t.Helper()
	var hash string
	must(l.t, l.Core.DB.Read().NewSelect().Table("satellites").Column("bundle").Where("id = ?", name).Scan(l.t.Context(), &hash))
	files := map[string]string{}
	if hash == "" {
		return files
	}
	text, digests, err := l.plugin.Manifest(l.t.Context(), hash)
	must(l.t, err)
	m, err := bundle.Decode(text, hash)
	must(l.t, err)
	if diff := cmp.Diff(m.Digests(), digests); diff != "" {
		l.t.Error(diff)
	}
	for _, f := range m.Files {
		var content []byte
		for {
			part, size, err := l.plugin.Blob(l.t.Context(), f.Digest, int64(len(content)), 100_000)
			must(l.t, err)
			if size != f.Size {
				l.t.Errorf("%s has %d bytes, want %d", f.Path, size, f.Size)
			}
			content = append(content, part...)
			if int64(len(content)) >= size {
				break
			}
		}
		if bundle.Digest(content) != f.Digest {
			l.t.Errorf("%s is another content", f.Path)
		}
		files[f.Path] = string(content)
	}
	return files
}

func (l *library) wantHas(name string, want map[string]string) {
	l.t.Helper()
	if diff := cmp.Diff(want, l.has(name)); diff != "" {
		l.t.Errorf("%s has: %s", name, diff)
	}
}

// rows counts what is stored.
func (l *library) rows(table string) (n int) {
	l.t.Helper()
	must(l.t, l.Core.DB.Read().NewSelect().Table(table).ColumnExpr("COUNT(*)").Scan(l.t.Context(), &n))
	return n
}

type files = map[string]string

func TestScriptsReachTheirSatellites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		l := open(t, url, `
scripts:
  - {name: disk, satellites: {}}
  - {name: net, satellites: {regions: [eu]}}
`)
		l.given("eu-1", "eu")
		l.given("us-1", "us")
		l.wantHas("eu-1", files{})

		big := strings.Repeat("0123456789", 100_000) // in several parts
		l.publish("disk", files{"check.sh": "one", "lib/big": big, "empty": ""})
		l.wantHas("us-1", files{"disk/check.sh": "one", "disk/lib/big": big, "disk/empty": ""})
		l.publish("net", files{"ping.sh": "ping"})
		l.wantHas("eu-1", files{"disk/check.sh": "one", "disk/lib/big": big, "disk/empty": "", "net/ping.sh": "ping"})
		l.wantHas("us-1", files{"disk/check.sh": "one", "disk/lib/big": big, "disk/empty": ""})

		// A new version takes the place of the old one; the same again changes
		// nothing, and an old one can be published again.
		one := l.publish("disk", files{"check.sh": "one"})
		two := l.publish("disk", files{"check.sh": "two"})
		l.wantHas("us-1", files{"disk/check.sh": "two"})
		if again := l.publish("disk", files{"check.sh": "one"}); again != one || one == two {
			t.Errorf("the versions are %s, %s and %s", one, two, again)
		}
		l.wantHas("us-1", files{"disk/check.sh": "one"})

		// One that is new, and one that moves, get what they are to have.
		l.given("us-2", "us")
		l.wantHas("us-2", files{"disk/check.sh": "one"})
		must(t, l.Happen(t.Context(), "satellite", map[string]any{"remove": "us-2"}))
		l.Settle()

		// A version can be named; files that name none any more take it away.
		l.Reload(fmt.Sprintf("scripts:\n  - {name: disk, version: %s, satellites: {names: [us-1]}}\n", two[:12]))
		l.wantHas("us-1", files{"disk/check.sh": "two"})
		l.wantHas("eu-1", files{})
		l.Restart()
		l.wantHas("us-1", files{"disk/check.sh": "two"})
		l.call(409, "DELETE", "/disk", nil, "a file gives these scripts to satellites")
		l.Reload("scripts: []\n")
		l.wantHas("us-1", files{})
		if n := l.rows("script_bundles"); n != 0 {
			t.Errorf("%d bundles that nobody is to have", n)
		}
		l.call(204, "DELETE", "/disk", nil, "")
		l.call(204, "DELETE", "/net", nil, "")
		l.call(404, "DELETE", "/net", nil, "no such scripts")
		for _, table := range []string{"script_versions", "script_files", "script_blobs"} {
			if n := l.rows(table); n != 0 {
				t.Errorf("%d rows of %s are left", n, table)
			}
		}
	})
}

// Versions that are old and not named go, with what only they needed.
func TestOldVersionsGo(t *testing.T) {
	l := open(t, dbtest.SQLite(t), "rules: []")
	named := l.publish("disk", files{"check.sh": "named", "shared": "shared"})
	l.Reload(fmt.Sprintf("scripts:\n  - {name: disk, version: %s, satellites: {}}\n", named))
	l.given("eu-1", "eu")
	for i := range 12 {
		l.Advance(time.Minute)
		l.publish("disk", files{"check.sh": fmt.Sprint(i), "shared": "shared"})
	}
	if n := l.rows("script_versions"); n != 11 {
		t.Errorf("%d versions, want the newest ten and the one that is named", n)
	}
	if n := l.rows("script_blobs"); n != 12 {
		t.Errorf("%d contents, want one for each version and the shared one", n)
	}
	l.wantHas("eu-1", files{"disk/check.sh": "named", "disk/shared": "shared"})
	l.call(200, "GET", "/disk", nil, bundle.Digest([]byte("11")))
	l.call(200, "GET", "/disk?version="+named[:12], nil, bundle.Digest([]byte("named")))
	l.call(404, "GET", "/disk?version=000000000000", nil, "no such scripts")
}

func TestListOfScripts(t *testing.T) {
	l := open(t, dbtest.SQLite(t), `
scripts:
  - {name: disk, satellites: {regions: [eu]}}
  - {name: gone, satellites: {}, version: 0123456789ab}
`)
	hash := l.publish("disk", files{"check.sh": "one"})
	got := l.call(200, "GET", "", nil, "")
	delete(got, "$schema")
	want := map[string]any{"next": nil, "items": []any{
		map[string]any{
			"name": "disk", "pinned": "", "problem": "", "satellites": map[string]any{"regions": []any{"eu"}},
			"versions": []any{map[string]any{"hash": hash, "published_at": enginetest.Epoch.Format(time.RFC3339), "files": 1.0, "size": 3.0}},
		},
		map[string]any{
			"name": "gone", "pinned": "0123456789ab", "problem": "no such version is published", "satellites": map[string]any{}, "versions": []any{},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhatCannotBePublished(t *testing.T) {
	l := open(t, dbtest.SQLite(t), "rules: []")
	l.call(422, "PUT", "/Disk", packed(t, files{"a": "b"}), "lower case letters")
	l.call(422, "PUT", "/disk", []byte("hello"), "this is no gzipped tar")
	if n := l.rows("script_versions"); n != 0 {
		t.Errorf("%d versions", n)
	}
}

func TestBadTargets(t *testing.T) {
	l := open(t, dbtest.SQLite(t), "rules: []")
	sections := l.Core.Plugins.Sections()
	for _, section := range sections {
		if section.Name != "scripts" {
			continue
		}
		all := &plugins.Selector{}
		for _, c := range []struct {
			target scripts.Target
			says   string
		}{
			{scripts.Target{Name: "Disk", Satellites: all}, "name: write"},
			{scripts.Target{Name: "disk"}, "satellites: it must not be null"},
			{scripts.Target{Name: "disk", Satellites: all, Version: "abc"}, "version: write at least 12"},
		} {
			if err := section.Check(c.target); err == nil || !strings.HasPrefix(err.Error(), c.says) {
				t.Errorf("%+v: %v", c.target, err)
			}
		}
		return
	}
	t.Error("there is no section")
}

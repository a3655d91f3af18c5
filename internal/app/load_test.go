package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/plugins"
)

// probe is an item of the section of probing.
type probe struct {
	Name string `json:"name"`
	Port int    `json:"port"`
}

// probing is a plugin that has a section, keeps an entity for each of its
// items and the items themselves in memory, and a function.
type probing struct {
	handle  *entities.Handle[probe]
	applied []probe
}

func (*probing) Name() string { return "probing" }

func (p *probing) Register(h *plugins.Host) (err error) {
	if p.handle, err = entities.Define(h.Entities(), entities.Spec[probe]{Name: "probe"}); err != nil {
		return err
	}
	return errors.Join(
		h.Function("double", "Twice as much.", func(n int) int { return 2 * n }),
		plugins.AddSection(h, plugins.SectionSpec[probe]{
			Name: "probes",
			Key:  func(p probe) string { return p.Name },
			Check: func(p probe) error {
				if p.Port > 65535 {
					return errors.New("port is more than 65535")
				}
				return nil
			},
			Reconcile: p.reconcile,
			Apply:     func(items []probe) { p.applied = items },
		}),
	)
}

func (p *probing) reconcile(ctx context.Context, tx bun.Tx, items []probe) error {
	gone, err := p.handle.List(ctx, "", 100)
	if err != nil {
		return err
	}
	for _, item := range items {
		delete(gone, item.Name)
		if _, err := p.handle.MutateTx(ctx, tx, item.Name, func(context.Context, bun.Tx, *probe) (probe, error) { return item, nil }); err != nil {
			return err
		}
		if item.Port == 22 {
			return fmt.Errorf("%s: this port is not for us\nnor for anybody", item.Name)
		}
		if item.Port == 23 {
			panic("telnet")
		}
	}
	for id := range gone {
		if err := p.handle.RemoveTx(ctx, tx, id, nil); err != nil {
			return err
		}
	}
	return nil
}

// loading is a core on files that a test writes.
type loading struct {
	*Core
	t      *testing.T
	files  fstest.MapFS
	plugin *probing
}

func openLoading(t *testing.T, url string) *loading {
	t.Helper()
	l := &loading{t: t, files: fstest.MapFS{}, plugin: &probing{}}
	core, err := Open(t.Context(), Config{DB: url, NoSync: true, Files: l.files, Plugins: []plugins.Plugin{l.plugin}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := core.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	l.Core = core
	return l
}

// load loads one file and gives its problems.
func (l *loading) load(text string) string {
	l.t.Helper()
	l.files["f.yaml"] = &fstest.MapFile{Data: []byte(text)}
	err := l.Load(l.t.Context())
	if err == nil {
		if l.Problems() != nil {
			l.t.Errorf("there are problems in spite of the success: %v", l.Problems())
		}
		return ""
	}
	list := &yamlx.Error{Problems: l.Problems()}
	return list.Error()
}

// inForce are the probes, the declared kinds and the rules.
func (l *loading) inForce() string {
	l.t.Helper()
	all, err := l.plugin.handle.List(l.t.Context(), "", 100)
	if err != nil {
		l.t.Fatal(err)
	}
	if len(all) != len(l.plugin.applied) {
		l.t.Errorf("in memory: %v, as rows: %v", l.plugin.applied, all)
	}
	for _, item := range l.plugin.applied {
		if all[item.Name] != item {
			l.t.Errorf("in memory: %v, as a row: %v", item, all[item.Name])
		}
	}
	text := fmt.Sprint(all)
	for _, k := range l.Entities.Kinds() {
		if k.Declared {
			text += " " + k.Name
		}
	}
	for _, e := range l.Events.Events() {
		if strings.HasPrefix(e.Name, "backup.") {
			text += " " + e.Name
		}
	}
	for _, r := range l.Engine.Rules().Rules {
		text += " " + r.ID
	}
	return text
}

func (l *loading) want(state string) {
	l.t.Helper()
	if diff := cmp.Diff(state, l.inForce()); diff != "" {
		l.t.Error(diff)
	}
}

const (
	kindBackup = `
kinds:
  - name: backup
    fields: {size: {type: number}}
    events: [{name: backup.grown, when: change.next.size > 5}]
`
	ruleOnBackup = `
rules:
  - id: page
    triggers: [{event: backup.grown, where: double(event.depth) == 4}]
    actions: [{log: hi}]
`
)

func TestWhatIsLoadedTakesEffectAsAWhole(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		l := openLoading(t, url)
		probes := "probes: [{name: web, port: 80}, {name: db, port: 5432}]\n"
		if problems := l.load(probes + kindBackup + ruleOnBackup); problems != "" {
			t.Fatal(problems)
		}
		const all = "map[db:{db 5432} web:{web 80}] backup backup.changed backup.grown page"
		l.want(all)
		if _, err := l.Entities.Put(t.Context(), "backup", "crm", func(entities.View) (map[string]any, error) {
			return map[string]any{"size": 5.5}, nil
		}); err != nil {
			t.Fatal(err)
		}

		for what, tt := range map[string]struct{ text, want string }{
			"a mistake in a section": {
				"probes:\n  - {name: web, port: 70000}\n",
				"f.yaml:2:23: port is more than 65535\n      - {name: web, port: 70000}\n                          ^",
			},
			"a section that its plugin refuses": {
				"probes:\n  - {name: new, port: 80}\n  - {name: ssh, port: 22}\n",
				"f.yaml:2:5: plugin probing: section probes: ssh: this port is not for us\n      - {name: new, port: 80}\n        ^",
			},
			"a section at which its plugin panics": {
				"probes:\n  - {name: telnet, port: 23}\n",
				"f.yaml:2:5: plugin probing: section probes: panic: telnet\n      - {name: telnet, port: 23}\n        ^",
			},
			"kinds that do not fit what is stored": {
				strings.Replace(kindBackup, "number", "integer", 1) + "  - {name: other, fields: {a: {type: map}}}\n",
				"f.yaml:3:11: kind backup: stored states do not fit: crm (size: must be a whole number, not 5.5)\n      - name: backup\n              ^\n" +
					"    hint: bring the states in line first, or leave the fields as they were",
			},
			"an unknown section": {"probs: []", "f.yaml:1:1: unknown section \"probs\"\n    probs: []\n    ^\n    hint: did you mean \"probes\"?"},
		} {
			t.Run(what+" leaves everything as it was", func(t *testing.T) {
				if diff := cmp.Diff(tt.want, l.load(tt.text)); diff != "" {
					t.Error(diff)
				}
				l.want(all)
			})
		}

		t.Run("items that leave the files are removed, also with their section", func(t *testing.T) {
			if problems := l.load("probes: [{name: web, port: 81}]\n" + kindBackup); problems != "" {
				t.Fatal(problems)
			}
			l.want("map[web:{web 81}] backup backup.changed backup.grown")
			if problems := l.load(""); problems != "" {
				t.Fatal(problems)
			}
			l.want("map[]")
		})
	})
}

func TestCheckKnowsKindsAndSections(t *testing.T) {
	files := fstest.MapFS{"f.yaml": {Data: []byte("probes: [{name: web, port: 80}]\n" + kindBackup + ruleOnBackup)}}
	n, err := checkFiles(t.Context(), files, "", []plugins.Plugin{&probing{}})
	if err != nil || n.Rules != 1 {
		t.Errorf("%d rules, %v", n.Rules, err)
	}
	files["f.yaml"].Data = []byte(kindBackup + strings.Replace(ruleOnBackup, "backup.grown", "backup.gorwn", 1))
	var problems *yamlx.Error
	if _, err := checkFiles(t.Context(), files, "", nil); !errors.As(err, &problems) || !strings.Contains(err.Error(), `did you mean "backup.grown"?`) {
		t.Errorf("%v", err)
	}
}

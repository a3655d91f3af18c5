package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/enginetest"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/replay"
	"github.com/flightrules/flightrules/internal/yamlx"
)

const rung = `
rules:
  - id: ring
    triggers: [{state: door.status, to: open, for: 5m}]
    conditions: ['event.change.next.count < %d']
    actions: [{house.ring: {text: "%s ${{ event.entity.id }} ${{ event.change.next.count }}"}}]
`

func files(text string) fs.FS { return fstest.MapFS{"rules.yaml": {Data: []byte(text)}} }

// day is an engine to which a day has happened: at each full hour a door opens,
// with the hour as its count, for as many minutes.
func day(t *testing.T, url string) *live {
	t.Helper()
	l := start(t, url, fmt.Sprintf(rung, 10, "hi"))
	happen(t, l)
	return l
}

// happen lets the day happen.
func happen(t *testing.T, l *live) {
	t.Helper()
	for hour := range 12 {
		l.AdvanceTo(t.Context(), enginetest.Epoch.Add(time.Duration(hour+1)*time.Hour))
		l.put("d", door{"open", hour})
		l.Settle()
		l.Advance(time.Duration(hour) * time.Minute)
		l.put("d", door{"closed", hour})
		l.Settle()
	}
	l.Advance(time.Hour)
}

// told is a report in short: a line for each item.
func told(r *replay.Report) (lines []string) {
	for _, rule := range r.Rules {
		for _, i := range rule.Items {
			line := fmt.Sprintf("%s %s %s %s", i.At().Sub(enginetest.Epoch).Truncate(time.Minute), i.Verdict, i.Event.Name, i.Key)
			if i.Reason != "" {
				line += ", " + strayMicros.ReplaceAllString(i.Reason, "m ")
			}
			if i.Replay != nil {
				for _, a := range i.Replay.Actions {
					line += ", " + a.Action + " " + string(a.Input)
				}
			}
			lines = append(lines, line)
		}
	}
	return lines
}

// strayMicros is by how much the clock of a live engine goes on meanwhile.
var strayMicros = regexp.MustCompile(`m0\.0000\d+s `)

func TestRun(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(name, func(t *testing.T) {
			l := day(t, url(t))
			for _, c := range []struct {
				name string
				o    replay.Options
				want []string
			}{
				{
					"the rules in force did what they did", replay.Options{}, []string{
						"6h5m0s both door.changed door/d", "7h5m0s both door.changed door/d", "8h5m0s both door.changed door/d", "9h5m0s both door.changed door/d", "10h5m0s both door.changed door/d",
					},
				},
				{
					"a rule of which the condition is another one", replay.Options{Files: files(fmt.Sprintf(rung, 8, "ho"))}, []string{
						`6h5m0s both door.changed door/d, house.ring {"text":"ho d 5"}`, `7h5m0s both door.changed door/d, house.ring {"text":"ho d 6"}`,
						`8h5m0s both door.changed door/d, house.ring {"text":"ho d 7"}`,
						"9h5m0s only_recorded door.changed door/d, condition_false: conditions[0]: event.change.next.count < 8",
						"10h5m0s only_recorded door.changed door/d, condition_false: conditions[0]: event.change.next.count < 8",
					},
				},
				{
					"a rule that waits for longer, and would have fired where it was refused", replay.Options{Files: files(strings.ReplaceAll(fmt.Sprintf(rung, 11, "ho"), "5m", "8m"))}, []string{
						"6h5m0s only_recorded door.changed door/d, cancelled: broken after 5m by version 12 of door/d",
						"7h5m0s only_recorded door.changed door/d, cancelled: broken after 6m by version 14 of door/d",
						"8h5m0s only_recorded door.changed door/d, cancelled: broken after 7m by version 16 of door/d",
						`9h5m0s both door.changed door/d, house.ring {"text":"ho d 8"}`, `10h5m0s both door.changed door/d, house.ring {"text":"ho d 9"}`,
						`11h8m0s only_replay door.changed door/d, condition_false: conditions[0]: event.change.next.count < 10, house.ring {"text":"ho d 10"}`,
					},
				},
				{
					"a new rule", replay.Options{Rules: []string{"new"}, Files: files(fmt.Sprintf(rung, 8, "ho") + "  - {id: new, triggers: [{event: door.opened, count: 3, within: 20h}], actions: [{house.ring: {text: third}}]}\n")}, []string{
						`3h0m0s only_replay door.opened door/d, no match was recorded, house.ring {"text":"third"}`,
					},
				},
				{
					"of a part of the time only, with what was before in mind", replay.Options{
						Since: enginetest.Epoch.Add(7*time.Hour + time.Minute), Until: enginetest.Epoch.Add(9*time.Hour + time.Minute),
					}, []string{"7h5m0s both door.changed door/d", "8h5m0s both door.changed door/d"},
				},
				{"the last of it", replay.Options{Last: 4 * time.Hour}, []string{"9h5m0s both door.changed door/d", "10h5m0s both door.changed door/d"}},
			} {
				t.Run(c.name, func(t *testing.T) {
					live := l
					live.t = t
					if diff := cmp.Diff(c.want, told(live.replay(c.o))); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				})
			}
		})
	}
}

// A rule that looks at what is when it is first loaded must not see what came
// later.
func TestAPrunedLogIsReplayedFromWhereItBegins(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		l := start(t, url, fmt.Sprintf(rung, 10, "hi")+"  - {id: opened, triggers: [{event: door.opened}], actions: [{log: x}]}\n")
		if _, err := l.Engine.Engine.Pause(t.Context(), "opened", "works"); err != nil {
			t.Fatal(err)
		}
		happen(t, l)
		cut := db.At(enginetest.Epoch.Add(7*time.Hour + 30*time.Minute))
		if err := l.DB.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			for _, table := range []string{"transitions", "events", "decisions"} {
				if _, err := tx.NewDelete().Table(table).Where("at < ?", cut).Exec(ctx); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		r := l.replay(replay.Options{})
		want := []string{"8h5m0s both door.changed door/d", "9h5m0s both door.changed door/d", "10h5m0s both door.changed door/d"}
		if diff := cmp.Diff(want, told(r)); diff != "" {
			t.Error(diff)
		}
		if notes := strings.Join(r.Notes, "; "); !strings.Contains(notes, "removed") || r.From.Before(cut.Time) {
			t.Errorf("from %s: %s", r.From, notes)
		}
	})
}

func TestWhatWasWhenARuleWasLoaded(t *testing.T) {
	l := start(t, dbtest.SQLite(t), "rules: []")
	l.put("d", door{"open", 1})
	l.Settle()
	l.Advance(time.Hour)
	l.Reload("rules:\n  - {id: r, triggers: [{state: door.status, to: open, initial: true}], actions: [{house.ring: {text: x}}]}\n")
	l.Advance(time.Hour)
	l.put("d", door{"closed", 1})
	l.Settle()
	l.Advance(time.Hour)
	for _, recorded := range []bool{false, true} {
		want := []string{"1h0m0s both door.changed door/d"}
		if diff := cmp.Diff(want, told(l.replay(replay.Options{AsRecorded: recorded}))); diff != "" {
			t.Errorf("as recorded: %v (-want +got):\n%s", recorded, diff)
		}
	}
}

// What came right before a load, and led to no decision then, was routed under
// the rules before, also where the load itself led to one.
func TestWhatCameRightBeforeARuleWasLoaded(t *testing.T) {
	l := start(t, dbtest.SQLite(t), "rules: []")
	l.put("a", door{"open", 1})
	l.put("b", door{"open", 1})
	l.Settle()
	l.remove("a")
	l.Settle()
	l.Reload("rules:\n  - {id: r, triggers: [{state: door.status, initial: true}], actions: [{house.ring: {text: x}}]}\n")
	l.Advance(time.Hour)
	got := told(l.replay(replay.Options{AsRecorded: true}))
	if len(got) != 1 || !strings.HasPrefix(got[0], "0s both") || !strings.HasSuffix(got[0], "door/b") {
		t.Errorf("got %v", got)
	}
}

func TestAnExportGivesTheSameReport(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		l := day(t, url)
		source, err := db.OpenReadOnly(t.Context(), url)
		l.must(err)
		defer func() { l.must(source.Close()) }()
		var out bytes.Buffer
		l.must(replay.Export(t.Context(), source, time.Time{}, &out))
		changed := replay.Options{Files: files(fmt.Sprintf(rung, 8, "ho"))}
		again := func(text []byte, o replay.Options) *replay.Report {
			imported, done, err := replay.Import(t.Context(), bytes.NewReader(text))
			l.must(err)
			defer func() { l.must(done()) }()
			o.Source, o.Plugins = imported, bring
			report, err := replay.Run(t.Context(), o)
			l.must(err)
			return report
		}
		ignore := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Run" }, cmp.Ignore())
		if diff := cmp.Diff(l.replay(changed), again(out.Bytes(), changed), ignore); diff != "" {
			t.Errorf("(-database +export):\n%s", diff)
		}
		for _, line := range bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n")) {
			if !json.Valid(line) {
				t.Fatalf("%s is no JSON", line)
			}
		}

		t.Run("a part of the log gives the same of that part", func(t *testing.T) {
			since := enginetest.Epoch.Add(5*time.Hour + 30*time.Minute)
			var part bytes.Buffer
			l.must(replay.Export(t.Context(), source, since, &part))
			if part.Len() >= out.Len() {
				t.Errorf("a part has %d bytes, all of it %d", part.Len(), out.Len())
			}
			changed.Since = since
			if diff := cmp.Diff(told(l.replay(changed)), told(again(part.Bytes(), changed))); diff != "" {
				t.Errorf("(-all +part):\n%s", diff)
			}
		})
	})
	t.Run("what is none is refused", func(t *testing.T) {
		for _, text := range []string{"", "{}", "hello", `{"flightrules_export": 99}`, "{\"flightrules_export\": 1}\n{\"events\": 3}"} {
			if _, _, err := replay.Import(t.Context(), strings.NewReader(text)); !errors.Is(err, replay.ErrExport) {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

func TestProblems(t *testing.T) {
	l := day(t, dbtest.SQLite(t))
	source, err := db.OpenReadOnly(t.Context(), l.url)
	l.must(err)
	defer func() { l.must(source.Close()) }()
	from := source
	run := func(o replay.Options) error {
		o.Source, o.Plugins = from, bring
		_, err := replay.Run(t.Context(), o)
		return err
	}
	var problems *yamlx.Error
	if err := run(replay.Options{Files: files("rules: [{id: x}]")}); !errors.As(err, &problems) {
		t.Errorf("%v", err)
	}
	if err := run(replay.Options{Rules: []string{"nobody"}}); !errors.Is(err, engine.ErrNoRule) {
		t.Errorf("%v", err)
	}
	if err := run(replay.Options{Files: files("kinds: []")}); !errors.Is(err, replay.ErrNoRules) {
		t.Errorf("%v", err)
	}
	old, err := db.Open(t.Context(), dbtest.SQLite(t), db.Options{NoSync: true})
	l.must(err)
	defer func() { l.must(old.Close()) }()
	from = old
	if err := run(replay.Options{}); !errors.Is(err, replay.ErrOldSource) {
		t.Errorf("%v", err)
	}
}

func TestSVG(t *testing.T) {
	l := day(t, dbtest.SQLite(t))
	report := l.replay(replay.Options{Files: files(fmt.Sprintf(rung, 8, "ho") + "  - {id: new, name: 'a & b', triggers: [{event: door.opened}], actions: [{house.ring: {text: x}}]}\n")})
	var out bytes.Buffer
	l.must(report.SVG(&out))
	marks := map[string]int{}
	for decoder := xml.NewDecoder(bytes.NewReader(out.Bytes())); ; {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		}
		l.must(err)
		if start, ok := token.(xml.StartElement); ok {
			for _, a := range start.Attr {
				if a.Name.Local == "class" {
					marks[a.Value]++
				}
			}
		}
	}
	// One of each is in the legend.
	if marks["both"] != 4 || marks["only_recorded"] != 3 || marks["only_replay"] != 13 {
		t.Errorf("there are the marks %v", marks)
	}
	if !strings.Contains(out.String(), "prefers-color-scheme: dark") {
		t.Error("it has no dark colours")
	}
}

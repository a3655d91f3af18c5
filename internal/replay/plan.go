package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/rules"
)

// sets are the migrations that the tables of a log come from.
func sets() []db.Migrations { return engine.Migrations() }

// known is what the source knows of its rules.
type known struct {
	states   map[string]journal.RuleState
	changes  []journal.RuleChange
	versions map[string]journal.RuleVersion
	silences []journal.Silence
	begin    time.Time // of the log
	cut      bool      // what was before that has been removed
}

func readKnown(ctx context.Context, idb bun.IDB) (*known, error) {
	k := &known{versions: map[string]journal.RuleVersion{}}
	var err error
	if k.states, err = journal.RuleStates(ctx, idb, true); err != nil {
		return nil, err
	}
	if err := idb.NewSelect().Model(&k.changes).Order("seq").Scan(ctx); err != nil {
		return nil, err
	}
	if err := idb.NewSelect().Model(&k.silences).Order("created_at", "id").Scan(ctx); err != nil {
		return nil, err
	}
	var versions []journal.RuleVersion
	if err := idb.NewSelect().Model(&versions).Scan(ctx); err != nil {
		return nil, err
	}
	for _, v := range versions {
		k.versions[v.Version] = v
	}
	return k, k.findBegin(ctx, idb)
}

// findBegin finds the time from which on the log is complete: its very first
// row or, where its beginning has been removed, the first decision. Single rows
// may be older then.
func (k *known) findBegin(ctx context.Context, idb bun.IDB) error {
	var firsts []time.Time
	for _, table := range []string{"decisions", "transitions", "events"} {
		var row []struct{ Seq, At int64 }
		if err := idb.NewSelect().Table(table).Column("seq", "at").Order("seq").Limit(1).Scan(ctx, &row); err != nil {
			return err
		}
		if len(row) > 0 {
			firsts = append(firsts, time.UnixMicro(row[0].At).UTC())
			k.cut = k.cut || table != "decisions" && row[0].Seq > 1
		}
	}
	if k.cut {
		k.begin = firsts[0].Add(-time.Second) // what it is about came shortly before
		return nil
	}
	if len(k.changes) > 0 {
		firsts = append(firsts, k.changes[0].At.Time)
	}
	if len(firsts) > 0 {
		k.begin = slices.MinFunc(firsts, time.Time.Compare)
	}
	return nil
}

// loads are when rules came into force and left it.
func (k *known) loads() (times []time.Time) {
	for _, c := range k.changes {
		if c.Change == journal.RuleLoaded || c.Change == journal.RuleRemoved {
			times = append(times, c.At.Time)
		}
	}
	return times
}

// end is the last time of which anything is recorded, or that before what the
// source is yet to route.
func (k *known) end(ctx context.Context, idb bun.IDB) (end time.Time, err error) {
	var unrouted db.Time
	if err := idb.NewSelect().TableExpr("outbox AS o").Join("JOIN transitions AS t ON t.seq = o.transition_seq").ColumnExpr("MIN(t.at)").Scan(ctx, &unrouted); err != nil {
		return end, err
	}
	if !unrouted.IsZero() {
		return unrouted.Add(-time.Microsecond), nil
	}
	for _, c := range k.changes {
		end = latest(end, c.At.Time)
	}
	for _, table := range []string{"transitions", "events", "decisions"} {
		// The last ones by seq: some of the time before may come after them.
		var last []int64
		if err := idb.NewSelect().Table(table).Column("at").Order("seq DESC").Limit(1000).Scan(ctx, &last); err != nil {
			return end, err
		}
		for _, at := range last {
			end = latest(end, time.UnixMicro(at).UTC())
		}
	}
	return end, nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// plan is which rules are in force when.
type plan struct {
	begin   time.Time
	since   time.Time // zero: the log is whole; else begin
	changes []change
	all     *rules.Set      // every version of every rule that there will be
	ids     map[string]bool // of them
	walked  map[string]bool // the versions that the source has never had
	last    *rules.Set      // the rules at the end
	notes   []string
}

// change is what comes into force at a time.
type change struct {
	at       time.Time
	set      *rules.Set // nil: the same as before
	silences []journal.Silence
	states   []journal.RuleState
}

func (p *player) newPlan(k *known) (plan, error) {
	n := plan{begin: k.begin, ids: map[string]bool{}, walked: map[string]bool{}}
	if k.cut {
		n.since = k.begin
	}
	var err error
	if p.AsRecorded {
		err = n.recorded(p, k)
	} else {
		err = n.given(p, k)
	}
	if err != nil {
		return n, err
	}
	for _, id := range p.Rules {
		if !n.ids[id] {
			return n, fmt.Errorf("%w: %s", engine.ErrNoRule, id)
		}
	}
	if len(n.ids) == 0 {
		return n, fmt.Errorf("%w: %s", ErrNoRules, cmp.Or(strings.Join(n.notes, "; "), "neither the log nor the files have any"))
	}
	for _, r := range n.all.Rules {
		if _, ok := k.versions[r.Version]; !ok {
			n.walked[r.Version] = true
		}
	}
	n.recall(k)
	slices.SortStableFunc(n.changes, func(a, b change) int { return a.at.Compare(b.at) })
	return n, nil
}

// wanted says whether a rule is replayed.
func (p *player) wanted(id string) bool { return len(p.Rules) == 0 || slices.Contains(p.Rules, id) }

// given plans the rules of files, or those that are in force in the source:
// each from when it was first loaded there, or from the beginning.
func (n *plan) given(p *player, k *known) error {
	set := p.lab.Set
	if p.Files == nil {
		var err error
		if set, err = n.inForce(p, k); err != nil {
			return err
		}
	}
	since := map[string]time.Time{}
	var times []time.Time
	for _, r := range set.Rules {
		if !p.wanted(r.ID) {
			continue
		}
		n.ids[r.ID] = true
		at := n.begin
		state, ok := k.states[r.ID]
		if loaded := state.LoadedAt.Time; ok && !p.Whole && loaded.After(at) {
			at = loaded
			n.noteLoaded(r.ID, loaded)
		}
		since[r.ID] = at
		times = append(times, at)
		n.noteEdits(r, k)
	}
	slices.SortFunc(times, time.Time.Compare)
	inSource := map[string]bool{}
	for _, s := range k.silences {
		inSource[s.ID] = true
	}
	at := func(t time.Time) *rules.Set {
		some := plain(set.Only(func(r *rules.Rule) bool { from, ok := since[r.ID]; return ok && !from.After(t) }))
		some.Silences = slices.DeleteFunc(slices.Clone(set.Silences), func(s *rules.Silence) bool { return inSource[s.ID] })
		return some
	}
	for _, t := range slices.CompactFunc(times, time.Time.Equal) {
		n.changes = append(n.changes, change{at: t, set: at(t)})
	}
	n.all = plain(set.Only(func(r *rules.Rule) bool { return n.ids[r.ID] }))
	n.last = n.all
	return nil
}

// noteAfter is how much later than the log a rule must begin for that to be
// said.
const noteAfter = time.Minute

func (n *plan) noteLoaded(id string, at time.Time) {
	if at.Sub(n.begin) > noteAfter {
		n.notes = append(n.notes, fmt.Sprintf("%s was first loaded at %s and is looked at from then on", id, at.Format(time.RFC3339)))
	}
}

// noteEdits says when a rule was another one in the source.
func (n *plan) noteEdits(r *rules.Rule, k *known) {
	var edits []string
	version := ""
	for _, c := range k.changes {
		if c.Rule != r.ID || c.Change != journal.RuleLoaded {
			continue
		}
		if version != "" && c.Version != version {
			edits = append(edits, c.At.UTC().Format(time.RFC3339))
		}
		version = c.Version
	}
	if len(edits) > 0 {
		n.notes = append(n.notes, fmt.Sprintf("%s was edited in the recorded time, at %s; it is replayed as it is given all the time", r.ID, strings.Join(edits, ", ")))
	}
}

// inForce is the set of the rules that are in force in the source, as far as
// they can be made without its files.
func (n *plan) inForce(p *player, k *known) (*rules.Set, error) {
	var text strings.Builder
	text.WriteString("rules:\n")
	for _, id := range slices.Sorted(maps.Keys(k.states)) {
		if version := k.states[id].Version; version != "" && p.wanted(id) {
			if _, ok := n.compile(p, k, id, version); ok {
				text.WriteString("  - " + k.versions[version].Text + "\n")
			}
		}
	}
	set, err := p.lab.Compiler.Load(fstest.MapFS{"recorded.yaml": &fstest.MapFile{Data: []byte(text.String())}}, "")
	var problems *yamlx.Error
	if errors.As(err, &problems) {
		return nil, fmt.Errorf("the recorded rules do not fit together without their files; name their folder: %w", err)
	}
	return set, err
}

// compile makes a recorded rule. Why it cannot is noted.
func (n *plan) compile(p *player, k *known, id, version string) (*rules.Rule, bool) {
	stored, ok := k.versions[version]
	if !ok {
		n.note(fmt.Sprintf("the text of %s is not recorded: name the folder of its file", id))
		return nil, false
	}
	r, err := p.lab.Compiler.Compile(stored.Text)
	if err != nil {
		why, _, _ := strings.Cut(err.Error(), "\n")
		n.note(fmt.Sprintf("%s cannot be made without its files (%s): name their folder", id, why))
		return nil, false
	}
	return r, true
}

func (n *plan) note(text string) {
	if !slices.Contains(n.notes, text) {
		n.notes = append(n.notes, text)
	}
}

// recorded plans the rules as they were.
func (n *plan) recorded(p *player, k *known) error {
	made := map[string]*rules.Rule{}
	var all, now []*rules.Rule
	for i, c := range k.changes {
		if p.wanted(c.Rule) {
			at := slices.IndexFunc(now, func(r *rules.Rule) bool { return r.ID == c.Rule })
			switch c.Change {
			case journal.RuleRemoved:
				if at >= 0 {
					now = slices.Delete(slices.Clone(now), at, at+1)
				}
			case journal.RuleLoaded:
				r, ok := made[c.Version]
				if !ok {
					if r, ok = n.compile(p, k, c.Rule, c.Version); !ok {
						continue
					}
					made[c.Version] = r
					all = append(all, r)
					n.ids[c.Rule] = true
				}
				now = slices.Clone(now)
				if at >= 0 {
					now[at] = r
				} else {
					now = append(now, r)
				}
			}
		}
		// What came into force together has one time.
		if last := i == len(k.changes)-1 || !k.changes[i+1].At.Equal(c.At.Time); last {
			n.changes = append(n.changes, change{at: c.At.Time, set: plain(rules.NewSet(now))})
		}
	}
	n.all, n.last = plain(rules.NewSet(all)), plain(rules.NewSet(now))
	return nil
}

// recall plans the pauses and silences that are recorded.
func (n *plan) recall(k *known) {
	noted := map[string]bool{}
	for _, c := range k.changes {
		if !n.ids[c.Rule] {
			continue
		}
		state := journal.RuleState{Rule: c.Rule}
		switch c.Change {
		case journal.RulePaused:
			state.PausedAt, state.PausedBy, state.Reason = c.At, c.Actor, c.Reason
		case journal.RuleResumed:
		case journal.RuleTripped: // the rule does so again, or does not
			noted[c.Rule] = true
			continue
		default:
			continue
		}
		noted[c.Rule] = true
		n.changes = append(n.changes, change{at: c.At.Time, states: []journal.RuleState{state}})
	}
	for _, id := range slices.Sorted(maps.Keys(k.states)) {
		if state := k.states[id]; n.ids[id] && state.Paused() && !state.Tripped && !noted[id] {
			n.changes = append(n.changes, change{at: state.PausedAt.Time, states: []journal.RuleState{state}})
		}
	}
	for _, s := range k.silences {
		s.EndedAt, s.File = db.Time{}, false
		n.changes = append(n.changes, change{at: s.CreatedAt.Time, silences: []journal.Silence{s}})
	}
	if k.cut {
		n.note(fmt.Sprintf("the log begins at %s, what was before has been removed: windows, deadlines and states that reach back further are not what they were", n.begin.Format(time.RFC3339)))
	}
	if len(k.changes) > 0 && k.changes[0].At.Sub(n.begin) > noteAfter {
		n.note(fmt.Sprintf("how rules came into force and were paused is on record since %s only", k.changes[0].At.UTC().Format(time.RFC3339)))
	}
}

// plain is a set that brings nothing but rules and kinds: the items of plugins
// are in the log.
func plain(set *rules.Set) *rules.Set {
	some := set.Only(func(*rules.Rule) bool { return true })
	some.Sections, some.Silences = nil, nil
	return some
}

package ruletest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/yamlx"
)

// expectation is what a test expects at a time.
type expectation struct {
	node     yamlx.Node
	parts    []aspect
	failure  any // of what happens in the step: its error; nil: none
	snapshot string
}

// aspect is one key of an expectation.
type aspect struct {
	key   string
	node  yamlx.Node
	check func(ctx context.Context, p *player) (wrong []string, err error)
}

// wanted is what is expected of some rows.
type wanted struct {
	where   any   // which of them it is about; nil: all
	count   *int  // how many
	rows    []any // all of them, in order; nil: not said
	include []any // each fits one of them
	exclude []any // none fits any
}

var countKeys = []string{"count", "include", "exclude", "where"}

// expect reads an expectation.
func (p *parser) expect(n yamlx.Node, s step) *expectation {
	m, ok := n.Map(p.Problems)
	if !ok {
		return nil
	}
	e := &expectation{node: n}
	for _, key := range slices.Sorted(maps.Keys(sights)) {
		if one := m.Take(key); !one.IsZero() {
			p.rowsExpected(e, key, one)
		}
	}
	if one := m.Take("entities"); !one.IsZero() {
		p.entitiesExpected(e, one)
	}
	if one := m.Take("error"); !one.IsZero() {
		if e.failure = p.want(one, &shape.Shape{Type: shape.String}); s.verb == "" {
			p.Add(one, "nothing happens in this step that could fail", "error is of what happens in the same step; errors of runs are under runs")
		}
	}
	if one := m.Take("snapshot"); !one.IsZero() && p.flag(one) {
		e.snapshot = p.title(s)
		if p.taken[e.snapshot] {
			p.Add(one, "there is a snapshot of this moment already", "give the step a name")
		}
		p.taken[e.snapshot] = true
	}
	m.Done(p.Problems)
	if len(m.Keys()) == 0 {
		p.Add(n, "this expects nothing", "such as expect: {runs: 1}")
	}
	return e
}

func (p *parser) rowsExpected(e *expectation, key string, n yamlx.Node) {
	sight := sights[key]
	form := sight.form(p)
	w := wanted{}
	switch {
	case n.IsList():
		w.rows = p.wantRows(n, form, sight.short)
	case n.IsMap() && key == "decisions" && !p.counts(n):
		p.outcomesExpected(e, n)
		return
	case n.IsMap():
		m, _ := n.Map(p.Problems)
		if count := m.Take("count"); !count.IsZero() {
			w.count = p.count(count)
		}
		if where := m.Take("where"); !where.IsZero() {
			w.where = p.wantRow(where, form, sight.short)
		}
		w.include = p.wantRows(m.Take("include"), form, sight.short)
		w.exclude = p.wantRows(m.Take("exclude"), form, sight.short)
		m.Done(p.Problems)
		if w.count == nil && w.include == nil && w.exclude == nil {
			p.Add(n, "this expects nothing", "give count, include or exclude")
		}
	default:
		if w.count = p.count(n); w.count == nil {
			return
		}
	}
	e.parts = append(e.parts, aspect{key, n, func(ctx context.Context, p *player) ([]string, error) {
		rows, err := sight.rows(ctx, p)
		return w.wrong(rows), err
	}})
}

// counts says whether a map has one of the keys that say how many, and which.
func (p *parser) counts(n yamlx.Node) bool {
	return slices.ContainsFunc(countKeys, func(key string) bool { return !n.At(key).IsZero() })
}

func (p *parser) count(n yamlx.Node) *int {
	v, ok := n.Int(p.Problems)
	if !ok {
		return nil
	}
	if v < 0 {
		p.Add(n, "there are never less than none", "")
	}
	return &v
}

func (p *parser) wantRows(n yamlx.Node, form *shape.Shape, short string) []any {
	if n.IsZero() {
		return nil
	}
	nodes, ok := n.List(p.Problems)
	if !ok {
		return nil
	}
	rows := []any{}
	for _, one := range nodes {
		rows = append(rows, p.wantRow(one, form, short))
	}
	return rows
}

func (p *parser) wantRow(n yamlx.Node, form *shape.Shape, short string) any {
	if short != "" && n.IsScalar() && !n.IsNull() {
		f, _ := form.Field(short)
		p.named(short, n)
		return map[string]any{short: p.want(n, f.Shape)}
	}
	m, ok := n.Map(p.Problems)
	if !ok {
		return nil
	}
	if len(m.Keys()) == 0 {
		return map[string]any{}
	}
	for _, key := range []string{"rule", "name"} {
		p.named(key, n.At(key))
	}
	return p.want(n, form)
}

// named reports a name of what there is not, which a row would never have: what
// must not be there would not be looked for.
func (p *parser) named(key string, n yamlx.Node) {
	text, ok := n.Value().(string)
	if !ok {
		return
	}
	if _, ok := pattern(text); ok {
		return
	}
	switch key {
	case "rule":
		if p.all.Rule(text) == nil {
			p.known(n, text)
		}
	case "name":
		p.eventNamed(n, text)
	}
}

// outcomesExpected reads how many decisions there are of some outcomes.
func (p *parser) outcomesExpected(e *expectation, n yamlx.Node) {
	m, _ := n.Map(p.Problems)
	f, _ := form[decisionRow]().Field("outcome")
	counts := map[string]int{}
	for _, outcome := range f.Shape.Enum {
		if one := m.Take(outcome); !one.IsZero() {
			if v := p.count(one); v != nil {
				counts[outcome] = *v
			}
		}
	}
	m.Done(p.Problems)
	e.parts = append(e.parts, aspect{"decisions", n, func(ctx context.Context, p *player) (wrong []string, err error) {
		rows, err := p.decisionRows(ctx)
		have := map[string]int{}
		for _, row := range rows {
			have[row.Outcome]++
		}
		for _, outcome := range slices.Sorted(maps.Keys(counts)) {
			if have[outcome] != counts[outcome] {
				wrong = append(wrong, fmt.Sprintf("want %d %s, got %d", counts[outcome], outcome, have[outcome]))
			}
		}
		if wrong != nil {
			wrong = append(wrong, listed(plains(rows))...)
		}
		return wrong, err
	}})
}

// entityWanted is an entity as it is expected to be.
type entityWanted struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	State  any    `json:"state,omitempty"`
	Absent bool   `json:"absent,omitempty" doc:"It does not exist."`
}

func (p *parser) entitiesExpected(e *expectation, n yamlx.Node) {
	nodes, _ := n.List(p.Problems)
	for _, one := range nodes {
		w, ok := read[entityWanted](p.Problems, one)
		if !ok {
			continue
		}
		info, ok := p.kind(one.At("kind"), w.Kind)
		if !ok {
			continue
		}
		if w.Absent == (w.State != nil) {
			p.Add(one, "an entity has a state, or is absent", "")
			continue
		}
		loose := withoutTimes(info.Shape)
		w.State = p.want(one.At("state"), loose)
		e.parts = append(e.parts, aspect{"entities", one, func(ctx context.Context, p *player) ([]string, error) {
			view, err := p.Entities.State(ctx, p.DB.Read(), w.Kind, w.ID)
			if err != nil {
				return nil, err
			}
			name := w.Kind + " " + w.ID
			switch {
			case view == nil && w.Absent:
				return nil, nil
			case view == nil:
				return []string{name + " does not exist"}, nil
			case w.Absent:
				return []string{name + " exists: " + brief(map[string]any(view))}, nil
			}
			return differences(name, w.State, plain(view)), nil
		}})
	}
}

// withoutTimes is the form of a state in which times are texts, and not moments.
func withoutTimes(form *shape.Shape) *shape.Shape {
	s := *form
	s.Fields = slices.Clone(form.Fields)
	for i, f := range s.Fields {
		if f.Shape.Type == shape.Duration || f.Shape.Type == shape.Time {
			s.Fields[i].Shape = &shape.Shape{Type: shape.Any}
		}
	}
	return &s
}

// wrong says what is not as it is wanted.
func (w wanted) wrong(rows []map[string]any) (list []string) {
	about := rows
	if w.where != nil {
		about = slices.DeleteFunc(slices.Clone(rows), func(row map[string]any) bool { return !fitting(w.where, row) })
	}
	if w.count != nil && len(about) != *w.count {
		list = append(list, fmt.Sprintf("want %d, got %d", *w.count, len(about)))
	}
	if w.rows != nil {
		list = append(list, w.inOrder(about)...)
	}
	for _, one := range w.include {
		if !slices.ContainsFunc(about, func(row map[string]any) bool { return fitting(one, row) }) {
			list = append(list, "there is none like "+brief(one)+closest(one, about))
		}
	}
	for _, one := range w.exclude {
		for _, row := range about {
			if fitting(one, row) {
				list = append(list, "there must be none like "+brief(one)+", and there is "+brief(row))
			}
		}
	}
	if list != nil {
		list = append(list, listed(rows)...)
	}
	return list
}

func fitting(want any, row map[string]any) bool { return len(differences("", want, row)) == 0 }

func (w wanted) inOrder(rows []map[string]any) (list []string) {
	if len(rows) != len(w.rows) {
		list = append(list, fmt.Sprintf("want exactly %d, got %d", len(w.rows), len(rows)))
	}
	for i, want := range w.rows {
		if i >= len(rows) {
			list = append(list, fmt.Sprintf("[%d]: want %s, there is none", i, brief(want)))
			continue
		}
		list = append(list, differences(fmt.Sprintf("[%d]", i), want, rows[i])...)
	}
	return list
}

// closest says how the row differs that comes nearest.
func closest(want any, rows []map[string]any) string {
	var best []string
	for _, row := range rows {
		if d := differences("", want, row); best == nil || len(d) < len(best) {
			best = d
		}
	}
	if best == nil {
		return ""
	}
	return "; the closest differs: " + strings.Join(best, "; ")
}

// listed says what rows there are, in lines of their own.
func listed(rows []map[string]any) (lines []string) {
	const most = 20
	for i, row := range rows {
		if i == most {
			return append(lines, fmt.Sprintf("  ... and %d more", len(rows)-most))
		}
		lines = append(lines, "  there is "+oneLine(row))
	}
	return lines
}

// oneLine is a row for people: its steps stand elsewhere.
func oneLine(row map[string]any) string {
	var parts []string
	for _, key := range order(row) {
		if key == "steps" {
			continue
		}
		v := row[key]
		text, isText := v.(string)
		if !isText || strings.ContainsAny(text, " ,:") {
			text = brief(v)
		}
		parts = append(parts, key+": "+text)
	}
	return strings.Join(parts, ", ")
}

// order puts the keys of a row so that they read well.
func order(row map[string]any) []string {
	first := []string{"at", "rule", "status", "outcome", "what", "name", "text", "path", "action"}
	keys := slices.Sorted(maps.Keys(row))
	slices.SortStableFunc(keys, func(a, b string) int {
		rank := func(k string) int {
			if i := slices.Index(first, k); i >= 0 {
				return i
			}
			return len(first)
		}
		return rank(a) - rank(b)
	})
	return keys
}

package expression_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/expression"
)

// operands writes what Explain gives, a line for each.
func operands(list []expression.Operand) []string {
	var lines []string
	for _, o := range list {
		if o.Err != nil {
			lines = append(lines, o.Text+" -> "+describeError(o.Text, o.Err))
			continue
		}
		lines = append(lines, fmt.Sprintf("%s = %v", o.Text, o.Value))
	}
	return lines
}

func TestExplain(t *testing.T) {
	const region, n = `event.payload.region = eu-west`, `event.payload.n = 4`
	for _, tt := range []struct {
		src  string
		want []string
	}{
		// The parts.
		{`event.payload.n > 3`, []string{n}},
		{`3 < event.payload.n`, []string{n}},
		{`event.payload.n > event.payload.count`, []string{n, `event.payload.count = 3`}},
		{`event.payload.region in ["eu-west"]`, []string{region}},
		{`event.payload.region not in ["eu-west"]`, []string{region}},
		{`event.payload.region matches "^eu"`, []string{region}},
		{`event.payload.region in [event.id, "x"]`, []string{region, `[event.id, "x"] = [e1 x]`}},
		{`event.payload.n + 1 > 3`, []string{`event.payload.n + 1 = 5`}},
		{`event.payload.labels["team"] == 'ops'`, []string{`event.payload.labels["team"] = ops`}},
		{`event.payload.items[0].name == "a"`, []string{`event.payload.items[0].name = a`}},
		{`event.payload.items[1:] == []`, []string{`event.payload.items[1:] = [map[name:b]]`}},
		{`len(event.payload.items[:]) == 2`, []string{`len(event.payload.items[:]) = 2`}},
		{`event.payload.items | map(.name) | join(",") == "a,b"`, []string{`event.payload.items | map(.name) | join(",") = a,b`}},
		{`now() - event.payload.at >= duration("5m")`, []string{`now() - event.payload.at = 5m0s`}},
		{`event.payload.at.Year() == 2030`, []string{`event.payload.at.Year() = 2030`}},
		{`event.payload.n > 3 ? "many" : event.id`, []string{n, `event.id = e1`}},
		{`if event.payload.n > 3 { event.id } else { "x" }`, []string{n, `event.id = e1`}},
		{`event.payload.n * 2 + event.payload.count`, []string{n, `event.payload.count = 3`}},
		{`event.id`, []string{`event.id = e1`}},
		{`state("satellite", event.id)?.gone`, []string{`state("satellite", event.id)?.gone = <nil>`}},

		// Several comparisons: each is told.
		{`event.payload.region startsWith "eu-" and state("satellite", event.id).status == "offline"`, []string{
			region, `event.payload.region startsWith "eu-" = true`,
			`state("satellite", event.id).status = online`, `state("satellite", event.id).status == "offline" = false`,
		}},
		{`not (event.payload.n > 3) || event.payload.n != 4`, []string{n, `event.payload.n > 3 = true`, `event.payload.n != 4 = false`}},
		{`event.payload.region not in ["a"] and event.payload.n > 9`, []string{
			region, `event.payload.region not in ["a"] = true`, n, `event.payload.n > 9 = false`,
		}},
		{`3 < event.payload.n < 5`, []string{n, `3 < event.payload.n = true`, `event.payload.n < 5 = true`}},
		{`1 == 1 and event.payload.n > 3`, []string{n}},

		// Conditions that are no comparisons.
		{`event.payload.n > 3 and event.payload.flag`, []string{n, `event.payload.flag = <nil>`}},
		{`event.payload.flag ?? false`, []string{`event.payload.flag = <nil>`}},
		{`any(event.payload.items, .name == "a" and event.id == "x")`,
			[]string{`any(event.payload.items, .name == "a" and event.id == "x") = false`}},
		{`!any(event.payload.items, {.name == "z"}) and true`, []string{`any(event.payload.items, {.name == "z"}) = false`}},
		{`(event.payload.flag ?? true) == true`, []string{`event.payload.flag ?? true = true`}},

		// Variables.
		{`let x = event.payload.n; x > 3`, []string{n, `x = 4`}},
		{`let x = event.payload.n; let y = x * 2; y > 3 and x > 9`, []string{n, `x = 4`, `y = 8`, `y > 3 = true`, `x > 9 = false`}},
		{`(let x = event.id; x + "!") == "e1!"`, []string{`let x = event.id; x + "!" = e1!`}},
		{`let x = change.prev.region; x == "a"`, []string{
			`change.prev.region -> 12: change.prev is nil; use ?. or ??`, `x -> 0: change.prev is nil; use ?. or ??`,
		}},

		// Brackets and layout.
		{`((event.payload.n)) > (3)`, []string{n}},
		{`(event.payload.n + 1) * 2 == 10`, []string{`(event.payload.n + 1) * 2 = 10`}},
		{`2 * (event.payload.n + (1)) == 10`, []string{`2 * (event.payload.n + (1)) = 10`}},
		{`(event.payload.n > 3) == (event.payload.count > 9)`, []string{`event.payload.n > 3 = true`, `event.payload.count > 9 = false`}},
		{`(event.payload.n > 3 ? 1 : 2) == 1`, []string{`event.payload.n > 3 ? 1 : 2 = 1`}},
		{`(if (event.payload.n > 3) {1} else if event.payload.flag {2} else {3}) == 1`,
			[]string{`if (event.payload.n > 3) {1} else if event.payload.flag {2} else {3} = 1`}},
		{`{"a": [event.id,],}.a[0] == "e1"`, []string{`{"a": [event.id,],}.a[0] = e1`}},
		{"\"é}\" != event.id /* ) */ and\n  event.payload . n > 3 // (", []string{
			`event.id = e1`, `"é}" != event.id = true`, `event.payload . n = 4`, `event.payload . n > 3 = true`,
		}},
		{`'it\'s)' == event.id or event.id == "(\"" `, []string{
			`event.id = e1`, `'it\'s)' == event.id = false`, `event.id == "(\"" = false`,
		}},

		// What cannot be evaluated.
		{`change.prev.region == "x"`, []string{`change.prev.region -> 12: change.prev is nil; use ?. or ??`}},
		{`change.prev != nil and change.prev.n > 3`, []string{
			`change.prev = <nil>`, `change.prev != nil = false`, `change.prev.n -> 12: change.prev is nil; use ?. or ??`,
			`change.prev.n > 3 -> 12: change.prev is nil; use ?. or ??`,
		}},
		{`change.prev?.n > 3`, []string{`change.prev?.n = <nil>`}},
		{`fails("x") == 1`, []string{`fails("x") -> 0: fails: the database is down`}},
		{`panics() == "x"`, []string{`panics() -> 0: panics: out of range`}},
		{`state("none", event.id).status == "online"`, []string{
			`state("none", event.id).status -> 24: state(...) is nil; use ?. or ??`,
		}},

		// Nothing depends on anything.
		{`true`, nil},
		{`1 + 1 == 2 and len("abc") == 3`, nil},
		{`any([1, 2], # > 1)`, nil},
	} {
		t.Run(tt.src, func(t *testing.T) {
			p, err := testEnv().Compile(tt.src, expression.AnyResult)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, operands(p.Explain(testVars()))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExplainKeepsValuesAndCauses(t *testing.T) {
	p := compile(t, `now() > event.payload.at and fails("x") == nil`)
	list := p.Explain(testVars())
	if len(list) != 5 {
		t.Fatalf("got %v", operands(list))
	}
	if at, ok := list[1].Value.(time.Time); !ok || at.Year() != 2030 {
		t.Errorf("got %T, want a time", list[1].Value)
	}
	if !errors.Is(list[3].Err, errDown) || list[3].Value != nil {
		t.Errorf("got %v", list[3])
	}
}

func TestExplainWithoutValues(t *testing.T) {
	got := operands(compile(t, `vars == nil or event.id == "a"`).Explain(nil))
	want := []string{
		`vars = <nil>`, `vars == nil = true`, `event.id -> 6: event is nil; use ?. or ??`, `event.id == "a" -> 6: event is nil; use ?. or ??`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// However large an expression is, and however nested, it can be explained soon.
func TestExplainIsQuick(t *testing.T) {
	const depth = 300
	for _, tt := range []struct {
		name, src string
		want      int
	}{
		{"many comparisons", strings.Repeat(`event.payload.n > 0 and `, 600) + "true", 2},
		{"many different ones", manyComparisons(500), expression.MaxOperands},
		{"many variables", manyVariables(300), expression.MaxOperands},
		{"nested conditions", strings.Repeat(`(`, depth) + `event.payload.flag` + strings.Repeat(` ? true : false)`, depth) + ` == true`, 1},
		{"nested ifs", strings.Repeat(`(if `, depth) + `event.payload.flag` + strings.Repeat(` {true} else {false})`, depth) + ` == true`, 1},
		{"nested brackets", strings.Repeat(`[`, 1000) + `event.id` + strings.Repeat(`]`, 1000) + ` == []`, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := testEnv().Compile(tt.src, expression.AnyResult)
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			if got := p.Explain(testVars()); len(got) != tt.want {
				t.Errorf("got %d operands", len(got))
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func manyComparisons(n int) string {
	var src strings.Builder
	for i := range n {
		fmt.Fprintf(&src, "event.payload.n > %d or ", i+10)
	}
	return src.String() + "false"
}

func manyVariables(n int) string {
	var src strings.Builder
	for i := range n {
		fmt.Fprintf(&src, "let v%d = event.payload.n + %d;", i, i)
	}
	src.WriteString("true")
	for i := range n {
		fmt.Fprintf(&src, " and v%d > 0", i)
	}
	return src.String()
}

// Explaining neither changes a program nor is in the way of others that use it, or its Env.
func TestExplainIsSafeForConcurrentUse(t *testing.T) {
	const src = `event.payload.region startsWith "eu-" and event.payload.n > 3`
	p := compile(t, src)
	want := operands(p.Explain(testVars()))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if diff := cmp.Diff(want, operands(p.Explain(testVars()))); diff != "" {
					t.Error(diff)
				}
				if ok, err := p.Bool(testVars()); !ok || err != nil {
					t.Error(ok, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestTemplatesAreAsBeforeOnceExplained(t *testing.T) {
	env := testEnv()
	template, err := env.ParseTemplate(`${{ event.payload.flag }}, ${{ event.payload.n > 3 }}`)
	if err != nil {
		t.Fatal(err)
	}
	p, err := env.Compile(`event.payload.flag`, expression.BoolResult)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := template.Eval(testVars())
		if diff := cmp.Diff(`18: event.payload.flag is nil; use ?. or ??`, describeError(template.Source(), err)); diff != "" {
			t.Error(diff)
		}
		if got := operands(p.Explain(testVars())); len(got) != 1 || got[0] != `event.payload.flag = <nil>` {
			t.Errorf("got %v", got)
		}
	}
}

// FuzzExplain: each text is in the source, and each error in its text.
func FuzzExplain(f *testing.F) {
	for _, src := range []string{
		`event.payload.region startsWith "eu-" && event.payload.n > 3`, `any(event.payload.items, .name in ["a"]) and (event.id) == "é"`,
		`let x = state("a", event.id)?.status; (x ?? "b") == 1 or (if x == 1 {2} else {3}) > 1`, `1 < (event.payload.n) < 3`,
		"event.id startsWith \"\xef\x8b\" && event.payload.n > 0",
		`event.payload.items[1:][0]?.name | len() > {"a": [event.id,]}.a[0] ? ::len(event.id) : -1 ** 2; event.id`,
	} {
		f.Add(src)
	}
	env, vars := testEnv(), testVars()
	f.Fuzz(func(t *testing.T, src string) {
		p, err := env.Compile(src, expression.AnyResult)
		if err != nil {
			return
		}
		for _, o := range p.Explain(vars) {
			if !strings.Contains(src, o.Text) {
				t.Errorf("%q is no part of %q", o.Text, src)
			}
			if _, err := env.Compile(o.Text, expression.AnyResult); err != nil && !strings.Contains(src, "let") {
				t.Errorf("%q of %q: %v", o.Text, src, err)
			}
			checkError(t, o.Text, o.Err)
		}
	})
}

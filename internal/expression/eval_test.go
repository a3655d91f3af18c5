package expression_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/expression"
)

func TestEval(t *testing.T) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		src  string
		want any
	}{
		{`event.payload.region startsWith "eu-" && event.payload.n > 3`, true},
		{`event.payload.n == 4 and event.payload.count == 3`, true},
		{`event.payload.n in [1, 4] and event.payload.count in [1, 3]`, true},
		{`event.payload.region in ["eu-west", "eu-east"]`, true},
		{`event.payload.region not in ["us-west"]`, true},
		{`"a" in map(event.payload.items, .name)`, true},
		{`"team" in event.payload.labels`, true},
		{`3 < event.payload.n < 5`, true},
		{`event.payload.at`, at},
		{`event.payload.at.Year() == 2030`, true},
		{`now() - event.payload.at`, 5 * time.Minute},
		{`now() - event.payload.at >= duration("5m")`, true},
		{`event.payload.at + duration("1d") > now()`, true},
		{`duration("1w2d")`, 9 * 24 * time.Hour},
		{`event.payload.age * 2`, 2 * time.Minute},
		{`event.payload.count + 1`, 4},
		{`event.payload.count - 5`, -2},
		{`event.payload.count * -2`, -6},
		{`event.payload.n + 1`, 5.0},
		{`event.payload.n / 8`, 0.5},
		{`"a" + "b" + string(3)`, "ab3"},
		{`state("satellite", event.id).status == "online"`, true},
		{`vars.channel + "!"`, "#oncall!"},
		{`filter(event.payload.items, .name > "a")`, []any{map[string]any{"name": "b"}}},
		{`event.payload.items | map(.name)`, []any{"a", "b"}},
		{`reduce([1, 2, 3], #acc + #, 0)`, 6},
		{`sum([1, 2.5])`, 3.5},
		{`sum(event.payload.items, len(.name))`, 2},
		{`count([true, false, true])`, 2},
		{`let x = event.payload.n; x > 3 ? "many" : "few"`, "many"},
		{`if event.payload.n > 9 { "many" } else { "few" }`, "few"},
		{`join(["a", "b"], "-") + replace("x.y", ".", "/") + repeat("z", 2)`, "a-bx/yzz"},
		{`uniq([1, 1, 2])`, []any{1, 2}},
		{`keys({"c": 1, "a": 2, "b": 3})`, []any{"a", "b", "c"}},
		{`values({"c": 1, "a": 2, "b": 3})`, []any{2, 3, 1}},
		{`toPairs({"c": 1, "a": 2})`, []any{[]any{"a", 2}, []any{"c", 1}}},
		{`fromPairs(toPairs({"c": 1, "a": 2}))`, map[any]any{"a": 2, "c": 1}},
		{`keys(groupBy(["x", "yy", "z"], len(#)))`, []any{1, 2}},
		{`1..3`, []int{1, 2, 3}},
		{`3..1`, []int{}},
		{`[event.payload.count, "x"]`, []any{3, "x"}},
		{`toJSON({"a": 1})`, "{\n  \"a\": 1\n}"},
		{`9223372036854775806 + 1`, 9223372036854775807},
		{`-9223372036854775807 - 1`, -9223372036854775808},
		{`4611686018427387904 * -2`, -9223372036854775808},
	} {
		t.Run(tt.src, func(t *testing.T) {
			got, err := compile(t, tt.src).Eval(testVars())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The flag of the test's event is missing, change.prev is missing, and the label "absent" too.
func TestNilIsAnErrorUnlessTheExpressionAllowsIt(t *testing.T) {
	const absent = `event.payload.labels.absent`
	for _, tt := range []struct{ src, want string }{
		{absent + ` == "a"`, `21: event.payload.labels.absent is nil; use ?. or ??`},
		{`"a" != ` + absent, `28: event.payload.labels.absent is nil; use ?. or ??`},
		{absent + ` < "a"`, `21: event.payload.labels.absent is nil; use ?. or ??`},
		{absent + ` in ["a"]`, `21: event.payload.labels.absent is nil; use ?. or ??`},
		{absent + ` startsWith "a"`, `21: event.payload.labels.absent is nil; use ?. or ??`},
		{absent + ` matches "a"`, `21: event.payload.labels.absent is nil; use ?. or ??`},
		{absent + ` + "a"`, `21: event.payload.labels.absent is nil; use ?. or ??`},
		{`upper(` + absent + `)`, `27: event.payload.labels.absent is nil; use ?. or ??`},
		{`fails(` + absent + `)`, `27: event.payload.labels.absent is nil; use ?. or ??`},
		{`change.prev.region == "x"`, `12: change.prev is nil; use ?. or ??`},
		{`all(change.prev?.items, true)`, `17: change.prev?.items is nil; use ??`},
		{`state("none", event.id).status`, `24: state(...) is nil; use ?. or ??`},
		{`state("none", event.id) == "x"`, `0: state(...) is nil; use ?. or ??`},
		{`find(event.payload.items, .name == "z").name`, `40: find(...) is nil; use ?. or ??`},
		{`event.payload.flag`, `14: event.payload.flag is nil; use ?. or ??`},
		{`not event.payload.flag`, `18: event.payload.flag is nil; use ?. or ??`},
		{`true and event.payload.flag`, `23: event.payload.flag is nil; use ?. or ??`},
		{`event.payload?.flag or true`, `15: event.payload?.flag is nil; use ??`},
		{`event.payload.flag ? 1 : 2`, `14: event.payload.flag is nil; use ?. or ??`},
		{`any(event.payload.items, event.payload.flag)`, `39: event.payload.flag is nil; use ?. or ??`},
		{`let x = ` + absent + `; x == "a"`, `37: x is nil; use ?. or ??`},
		{`-vars.nothing`, `6: vars.nothing is nil; use ?. or ??`},

		{absent + ` == nil`, `true`},
		{absent + ` != nil && ` + absent + ` == "a"`, `false`},
		{`event.payload.labels?.absent == "a"`, `false`},
		{`event.payload.labels?.absent != "a"`, `true`},
		{`event.payload.labels?.absent in ["", "a"]`, `false`},
		{`event.payload.labels?.absent contains "a"`, `false`},
		{`change.prev?.region != "failed"`, `true`},
		{`change.prev?.n > 3`, `false`},
		{`change.prev?.n <= 3`, `false`},
		{`change.prev?.count in [0, 1]`, `false`},
		{`change.prev?.count == event.payload.count`, `false`},
		{`let x = change.prev?.region; x == "a"`, `false`},
		{`get(event.payload.labels, "absent") == "a"`, `false`},
		{`(` + absent + ` ?? "none") == "none"`, `true`},
		{`event.payload.flag ?? false`, `false`},
		{`state("none", event.id)?.status == "x"`, `false`},
		{`toJSON(` + absent + `)`, `null`},
		{absent, `<nil>`},
	} {
		t.Run(tt.src, func(t *testing.T) {
			v, err := compile(t, tt.src).Eval(testVars())
			got := fmt.Sprint(v)
			if err != nil {
				got = describeError(tt.src, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEvalFails(t *testing.T) {
	const memory = "the expression needs too much memory"
	const overflow = "the result is too large for a whole number"
	for _, tt := range []struct{ src, want string }{
		{`map(1..100000000, #)`, `5: ` + memory},
		{`0..9223372036854775807`, `1: ` + memory},
		{`reduce(1..900, #acc + #acc, "x")`, `20: ` + memory},
		{`let r = 1..9999; count(r, count(r, count(r, true) > 0) > 0)`, `44: ` + memory},
		{`let r = 1..9999; map(r, sum(r))`, `24: ` + memory},
		{`let r = 1..9998; all(r, -1 not in r)`, `31: ` + memory},
		{`repeat("x", 100000000)`, `0: ` + memory},
		{`replace(repeat("a", 1000), "a", repeat("b", 10000))`, `0: ` + memory},
		{`join(map(1..900, "x"), repeat("y", 10000))`, `0: ` + memory},
		{`let a = repeat("x", 9000); toJSON(map(1..900, a))`, `27: ` + memory},
		{`let a = map(1..9000, 1); flatten(map(1..900, a))`, `25: ` + memory},
		{`uniq(1..100000)`, `0: ` + memory},
		{`9223372036854775807 + event.payload.count`, `20: ` + overflow},
		{`-9223372036854775807 - event.payload.count`, `21: ` + overflow},
		{`-9223372036854775807 + -2`, `21: ` + overflow},
		{`9223372036854775807 - -1`, `20: ` + overflow},
		{`9223372036854775807 * 2`, `20: ` + overflow},
		{`4611686018427387904 * 2`, `20: ` + overflow},
		{`reduce(1..99, #acc * 2, 1)`, `19: ` + overflow},
		{`5 % (event.payload.count - 3)`, `2: integer divide by zero`},
		{`event.payload.items[7].name`, `19: index out of range: 7 (array length is 2)`},
		{`panics()`, `0: panics: out of range`},
		{`event.id == "e1" and fails("x")`, `21: fails: the database is down`},
		{`duration("5 minutes")`,
			`0: duration: bad duration "5 minutes": write a number and a unit, such as 90s, 5m, 1h30m, 2d or 1w`},
		{`vars.channel > 3`, `13: cannot use > on a string and a whole number`},
		{`upper(vars.number)`, `0: upper: a string is needed here, not a whole number`},
		{`state(vars.number, "x")`, `0: state: a string is needed here, not a whole number`},
	} {
		t.Run(tt.src, func(t *testing.T) {
			vars := testVars()
			vars["vars"] = map[string]any{"channel": "#oncall", "number": 5}
			got, err := compile(t, tt.src).Eval(vars)
			if err == nil {
				t.Fatalf("it gave %.100v", got)
			}
			if diff := cmp.Diff(tt.want, describeError(tt.src, err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAFunctionsErrorCanBeRecognized(t *testing.T) {
	_, err := compile(t, `fails("x")`).Eval(testVars())
	if !errors.Is(err, errDown) {
		t.Errorf("%v does not wrap the function's error", err)
	}
}

func TestTheResultIsCheckedWhenItsTypeIsNotKnownBefore(t *testing.T) {
	for _, tt := range []struct {
		src  string
		want expression.Result
		text string
	}{
		{`vars.channel`, expression.BoolResult, `0: this must give true or false, but it gives a string`},
		{`vars.nothing`, expression.BoolResult, `0: this must give true or false, but it gives nil`},
		{`event.payload?.flag`, expression.BoolResult, `0: this must give true or false, but it gives nil`},
		{`vars.channel`, expression.DurationResult, `0: this must give a duration, but it gives a string`},
		{`event.payload.labels.absent`, expression.StringResult, `0: this must give a string, but it gives nil`},
		{`vars.channel`, expression.StringResult, ``},
	} {
		t.Run(tt.src, func(t *testing.T) {
			p, err := testEnv().Compile(tt.src, tt.want)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if _, err := p.Eval(testVars()); err != nil {
				got = describeError(tt.src, err)
			}
			if diff := cmp.Diff(tt.text, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBoolTakesNothingButBooleans(t *testing.T) {
	for _, src := range []string{`vars.channel`, `vars.nothing`, `event.payload.n`} {
		if got, err := compile(t, src).Bool(testVars()); err == nil {
			t.Errorf("%s is %v", src, got)
		}
	}
	if got, err := compile(t, `event.payload.n > 3`).Bool(testVars()); err != nil || !got {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAProgramCanBeUsedByManyAtOnce(t *testing.T) {
	p := compile(t, `let big = map(1..500, # + event.payload.count); len(big) == 500 and fails2(big[0]) == "4"`)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			vars := testVars()
			vars["fails2"] = func(i any) string { return fmt.Sprint(i) }
			for range 200 {
				if ok, err := p.Bool(vars); err != nil || !ok {
					t.Error(ok, err)
					return
				}
			}
		})
	}
	group.Wait()
}

func TestEvaluationsDoNotSeeEachOthersVariables(t *testing.T) {
	first := compile(t, `let secret = event.id; secret`)
	second := compile(t, `let other = vars.nothing; other`)
	for range 10 {
		if v, err := first.Eval(testVars()); err != nil || v != "e1" {
			t.Fatal(v, err)
		}
		if v, err := second.Eval(testVars()); err != nil || v != nil {
			t.Fatal(v, err)
		}
	}
}

func compile(t *testing.T, src string) *expression.Program {
	t.Helper()
	p, err := testEnv().WithFunc("fails2", func(any) string { return "" }).Compile(src, expression.AnyResult)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

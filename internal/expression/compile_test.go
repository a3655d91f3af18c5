package expression_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/expr-lang/expr/types"
	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/expression"
)

// describeError writes an error with the source, a caret under its place, and the hint.
func describeError(src string, err error) string {
	var e *expression.Error
	if !errors.As(err, &e) {
		return fmt.Sprintf("not an *Error: %v", err)
	}
	out := fmt.Sprintf("%d: %s", e.Offset, e.Message)
	if e.Hint != "" {
		out += " | " + e.Hint
	}
	if e.Offset < 0 || e.Offset > len(src) {
		out += " | the offset is outside of the source"
	}
	return out
}

func TestCompileRefuses(t *testing.T) {
	const fields = "known fields: age, at, count, flag, items, labels, n, region"
	const names = "known names: change, event, fails, now, panics, state, vars"
	for _, tt := range []struct{ src, want string }{
		// Names.
		{`evnt.id == "x"`, `0: unknown name "evnt" | did you mean "event"?`},
		{`foo.bar`, `0: unknown name "foo" | ` + names},
		{`"é" == evnt`, `8: unknown name "evnt" | did you mean "event"?`},
		{`stat("a", "b")`, `0: unknown function "stat" | did you mean "state"?`},
		{`uper("a")`, `0: unknown function "uper" | did you mean "upper"?`},
		{`$env.event`, `0: unknown name "$env"`},
		{`get($env, "event")`, `4: unknown name "$env"`},

		// Fields, wherever they are.
		{`event.payload.regoin == "x"`, `14: unknown field "regoin" | did you mean "region"?`},
		{`event.payload.zzz`, `14: unknown field "zzz" | ` + fields},
		{`event.payload["regoin"]`, `14: unknown field "regoin" | did you mean "region"?`},
		{`event?.payload?.regoin`, `16: unknown field "regoin" | did you mean "region"?`},
		{`state("a", event.payload.regoin)`, `25: unknown field "regoin" | did you mean "region"?`},
		{`upper(event.payload.regoin)`, `20: unknown field "regoin" | did you mean "region"?`},
		{`any(event.payload.items, .nmae == "x")`, `26: unknown field "nmae" | did you mean "name"?`},
		{`any(event.payload.items, event.payload.regoin == .name)`, `39: unknown field "regoin" | did you mean "region"?`},
		{`let x = event.payload.regoin; x == "y"`, `22: unknown field "regoin" | did you mean "region"?`},
		{`let x = event.payload; x.regoin == "y"`, `25: unknown field "regoin" | did you mean "region"?`},
		{`event.payload.items[0].nmae`, `23: unknown field "nmae" | did you mean "name"?`},
		{`{"a": [event.idd]}`, `13: unknown field "idd" | did you mean "id"?`},
		{`true ? event.idd : 1`, `13: unknown field "idd" | did you mean "id"?`},
		{`event.id.foo`, `9: a string has no field "foo"`},
		{`event.payload.at.foo`, `17: a time has no field "foo"`},
		{`event.payload.items.name`, `20: an item of a list is taken by its number, such as [0]`},

		// Types.
		{`event.payload.n == "x"`, `16: cannot compare a number with a string`},
		{`event.id < 3`, `9: cannot compare a string with a whole number`},
		{`event.payload.age > 5`, `18: cannot compare a duration with a whole number`},
		{`event.id in [1, 2]`, `9: a string cannot be in a list whose items are each a whole number`},
		{`event.id + 1`, `9: cannot use + on a string and a whole number`},
		{`not event.id`, `0: cannot use not on a string`},
		{`event.id && true`, `9: cannot use && on a string and true or false`},
		{`event.id ? 1 : 2`, `6: a condition must be true or false, not a string`},
		{`filter(event.payload.items, .name)`,
			`28: this must give true or false for each item, but it gives a string`},
		{`all(event.id, true)`, `10: all needs a list, not a string`},
		{`len(3)`, `0: len cannot take a whole number`},
		{`event.id matches "["`, "9: bad regular expression: missing closing ]: `[`"},
		{`state("a")`, `0: not enough arguments for state`},
		{`state("a", "b", "c")`, `0: too many arguments for state`},
		{`state("a", 3)`, `11: state needs a string here, not a whole number`},
		{`duration(5)`, `9: duration needs a string here, not a whole number`},
		{`state`, `0: "state" is a function, not a value | call it with ( )`},
		{`let f = state; f("a", "b")`, `8: "state" is a function, not a value | call it with ( )`},

		// Syntax.
		{` `, `0: the expression is empty`},
		{`event.id >`, `10: the expression ends too early`},
		{`(1 + 2`, `6: the expression ends too early`},
		{`event.id = "x"`, `9: unexpected "=" | write == to compare`},
		{`event.id & true`, `9: unexpected "&" | write and, or &&`},
		{`event.id startWith "x"`, `9: unexpected "startWith" | did you mean "startsWith"?`},
		{`event.id like "x"`, `9: unexpected "like"`},
		{`1 2`, `2: unexpected "2"`},
		{`"abc`, `4: a string is not closed`},
		{`@x`, `0: unexpected character '@'`},
		{`event.id ?? "a" == "b"`, `16: ?? beside another operator needs parentheses, such as (a ?? b) == c`},
		{`event.id == "${{ x }}"`, `13: an expression stands here by itself: write it without ${{ }}`},

		// Limits.
		{strings.Repeat(" ", expression.MaxLength) + "1", `0: the expression is longer than 16384 bytes`},
		{strings.Repeat("1+", expression.MaxNodes/2) + "1", `5000: the expression has more than 5000 parts`},
	} {
		t.Run(fmt.Sprintf("%.60s", tt.src), func(t *testing.T) {
			_, err := testEnv().Compile(tt.src, expression.AnyResult)
			if err == nil {
				t.Fatal("it was compiled")
			}
			if diff := cmp.Diff(tt.want, describeError(tt.src, err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCompileRefusesTheWrongResult(t *testing.T) {
	for _, tt := range []struct {
		src  string
		want expression.Result
		text string
	}{
		{`event.payload.region`, expression.BoolResult, `0: this must give true or false, but it gives a string`},
		{`event.payload.n`, expression.BoolResult, `0: this must give true or false, but it gives a number`},
		{`nil`, expression.BoolResult, `0: this must give true or false, but it gives nil`},
		{`event.payload.n > 3`, expression.StringResult, `0: this must give a string, but it gives true or false`},
		{`"5m"`, expression.DurationResult, `0: this must give a duration, but it gives a string`},
		{`event.payload.age`, expression.NumberResult, `0: this must give a number, but it gives a duration`},
	} {
		t.Run(tt.src, func(t *testing.T) {
			_, err := testEnv().Compile(tt.src, tt.want)
			if diff := cmp.Diff(tt.text, describeError(tt.src, err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheTypeIsKnownBeforeEvaluating(t *testing.T) {
	for _, tt := range []struct {
		src  string
		want expression.Result
	}{
		{`event.payload.n > 3`, expression.BoolResult},
		{`event.id`, expression.StringResult},
		{`event.payload.count + 1`, expression.NumberResult},
		{`duration("5m")`, expression.DurationResult},
		{`now()`, expression.TimeResult},
		{`event.payload.items`, expression.ListResult},
		{`event.payload`, expression.MapResult},
		{`state("a", "b")`, expression.AnyResult},
		{`vars.channel`, expression.AnyResult},
	} {
		t.Run(tt.src, func(t *testing.T) {
			p, err := testEnv().Compile(tt.src, expression.AnyResult)
			if err != nil {
				t.Fatal(err)
			}
			if p.Type() != tt.want || p.Source() != tt.src {
				t.Errorf("got %v of %q, want %v", p.Type(), p.Source(), tt.want)
			}
		})
	}
}

func TestAnEnvDoesNotChange(t *testing.T) {
	small := expression.NewEnv().With("a", types.Int)
	large := small.With("b", types.String)
	if diff := cmp.Diff([]string{"a"}, small.Names()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, large.Names()); diff != "" {
		t.Error(diff)
	}
	if _, err := small.Compile("b", expression.AnyResult); err == nil {
		t.Error("the smaller Env sees the name of the larger one")
	}
}

func TestThereIsNoClockButTheOneOfTheEnv(t *testing.T) {
	_, err := expression.NewEnv().Compile("now()", expression.AnyResult)
	if diff := cmp.Diff(`0: unknown function "now"`, describeError("now()", err)); diff != "" {
		t.Error(diff)
	}
}

package expression_test

import (
	"errors"
	"testing"

	"github.com/flightrules/flightrules/internal/expression"
)

func FuzzCompile(f *testing.F) {
	for _, src := range []string{
		`event.payload.region startsWith "eu-" && event.payload.n > 3`, `any(event.payload.items, .name in ["a"])`,
		`let x = state("a", event.id)?.status; x ?? "b"`, `if true { 1 } else { 2 }`, `{"a": [1..3, -1]}.a[0]`,
		`reduce(1..9, #acc + #index * #)`, `event.payload.at.Year() % 4 == 0 ? "é" : nil`, "`a`", `b"x"`, `((`, `"\u00`,
	} {
		f.Add(src)
	}
	env, vars := testEnv(), testVars()
	f.Fuzz(func(t *testing.T, src string) {
		p, err := env.Compile(src, expression.AnyResult)
		if err == nil {
			_, err = p.Eval(vars)
		}
		checkError(t, src, err)
	})
}

func FuzzTemplate(f *testing.F) {
	for _, src := range []string{
		`${{ event.id }}`, `a ${{ "}}" }} $${{ b ${{ {"a": {}} }}`, `${{`, "${{ `}}", `$$${{ 1 }}`, `${{ 1 }} }}`,
	} {
		f.Add(src)
	}
	env, vars := testEnv(), testVars()
	f.Fuzz(func(t *testing.T, src string) {
		template, err := env.ParseTemplate(src)
		if err == nil {
			var v any
			v, err = template.Eval(vars)
			if _, isText := v.(string); err == nil && template.Type() == expression.StringResult && !isText && v != nil {
				t.Errorf("%q is said to give a string, and gives %T", src, v)
			}
		}
		checkError(t, src, err)
	})
}

// checkError fails for errors that are no *Error, that point outside of the source, or that are more than a line.
func checkError(t *testing.T, src string, err error) {
	if err == nil {
		return
	}
	var e *expression.Error
	if !errors.As(err, &e) {
		t.Fatalf("%q: %T is no *Error", src, err)
	}
	if e.Offset < 0 || e.Offset > len(src) || e.Message == "" {
		t.Errorf("%q: bad error %#v", src, e)
	}
	for _, r := range e.Message {
		if r == '\n' {
			t.Errorf("%q: the message has several lines: %q", src, e.Message)
		}
	}
}

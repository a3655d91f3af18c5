package expression_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/expression"
)

func TestTemplate(t *testing.T) {
	for _, tt := range []struct {
		src  string
		want any
		typ  expression.Result
	}{
		{``, "", expression.StringResult},
		{`plain`, "plain", expression.StringResult},
		{`${{ event.payload.n }}`, 4.0, expression.NumberResult},
		{`${{event.payload.at}}`, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), expression.TimeResult},
		{`${{ vars.nothing }}`, nil, expression.AnyResult},
		{`${{ event.payload.items }}`, []any{map[string]any{"name": "a"}, map[string]any{"name": "b"}}, expression.ListResult},
		{` ${{ event.payload.n }}`, " 4", expression.StringResult},
		{`${{ event.id }} in ${{ event.payload.region }}`, "e1 in eu-west", expression.StringResult},
		{`${{ event.payload.at }}, ${{ event.payload.age }}`, "2030-01-01T00:00:00Z, 1m", expression.StringResult},
		{`<${{ vars.nothing }}>`, "<>", expression.StringResult},
		{`n=${{ event.payload.n / 8 }} ${{ event.payload.count }} ${{ 1e21 }} ${{ true }}`, "n=0.5 3 1e+21 true",
			expression.StringResult},
		{`${{ event.payload.labels }} ${{ [1, "<"] }}`, `{"team":"ops"} [1,"<"]`, expression.StringResult},
		{`${{ "}}" + '}}' }}`, "}}}}", expression.StringResult},
		{"${{ `a}}``\\` }}", "a}}`\\", expression.StringResult},
		{`${{ "\"}}" }}`, `"}}`, expression.StringResult},
		{`${{ {"a": {"b": 1}} }}`, map[string]any{"a": map[string]any{"b": 1}}, expression.MapResult},
		{`${{ {"a": {"b": 1}}}}`, map[string]any{"a": map[string]any{"b": 1}}, expression.MapResult},
		{`$${{ not an expression }}`, "${{ not an expression }}", expression.StringResult},
		{`a $${{ ${{ event.id }}`, "a ${{ e1", expression.StringResult},
		{`costs 5$ and }} {{ $ {`, "costs 5$ and }} {{ $ {", expression.StringResult},
	} {
		t.Run(tt.src, func(t *testing.T) {
			template, err := testEnv().ParseTemplate(tt.src)
			if err != nil {
				t.Fatal(err)
			}
			got, err := template.Eval(testVars())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if template.Type() != tt.typ || template.Source() != tt.src {
				t.Errorf("got %v of %q, want %v", template.Type(), template.Source(), tt.typ)
			}
		})
	}
}

func TestTemplateRefuses(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{`a ${{ event.id`, `2: ${{ is not closed | end the expression with }}`},
		{`a ${{ {"a": 1 }}`, `2: ${{ is not closed | end the expression with }}`},
		{`a ${{ event.id == "x }}`, `18: a string is not closed`},
		{`a ${{ }}`, `2: there is no expression between ${{ and }}`},
		{`é ${{ event.id }} ${{  evnt.id }}`, `24: unknown name "evnt" | did you mean "event"?`},
		{`${{ event.payload.n == "x" }}`, `20: cannot compare a number with a string`},
	} {
		t.Run(tt.src, func(t *testing.T) {
			_, err := testEnv().ParseTemplate(tt.src)
			if diff := cmp.Diff(tt.want, describeError(tt.src, err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestATemplatesErrorsAndCallsHaveTheirPlaceInTheTemplate(t *testing.T) {
	const src = `at ${{ state("none", event.id).status }}`
	template, err := testEnv().ParseTemplate(src)
	if err != nil {
		t.Fatal(err)
	}
	_, err = template.Eval(testVars())
	if diff := cmp.Diff(`31: state(...) is nil; use ?. or ??`, describeError(src, err)); diff != "" {
		t.Error(diff)
	}
	want := []expression.Call{{Name: "state", Offset: 7, Args: []any{"none", nil}, Member: []string{"status"}}}
	if diff := cmp.Diff(want, template.Calls()); diff != "" {
		t.Error(diff)
	}
}

func TestATemplateWithoutExpressionsIsLiteral(t *testing.T) {
	for src, want := range map[string]bool{"": true, "a": true, "$${{ a }}": true, "a ${{ 1 }}": false, "${{ 1 }}": false} {
		template, err := testEnv().ParseTemplate(src)
		if err != nil {
			t.Fatal(err)
		}
		if template.IsLiteral() != want {
			t.Errorf("%q: got %v", src, !want)
		}
	}
}

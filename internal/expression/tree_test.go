package expression_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/expression"
)

func TestATreeIsEvaluatedThroughout(t *testing.T) {
	tree, err := testEnv().ParseTree(map[string]any{
		"text": "${{ event.id }}!", "number": "${{ event.payload.n }}", "plain": 5, "none": nil,
		"list": []any{"a", "$${{", map[string]any{"deep": []any{"${{ vars.channel }}", "${{ 1 }}"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.Eval(testVars())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"text": "e1!", "number": 4.0, "plain": 5, "none": nil,
		"list": []any{"a", "${{", map[string]any{"deep": []any{"#oncall", 1}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, literal := tree.Literal(); literal {
		t.Error("it is said to be literal")
	}
	var paths [][]any
	tree.Each(func(path []any, _ *expression.Template) { paths = append(paths, path) })
	if diff := cmp.Diff([][]any{{"list", 2, "deep", 0}, {"list", 2, "deep", 1}, {"number"}, {"text"}}, paths); diff != "" {
		t.Error(diff)
	}
}

func TestATreeWithoutExpressionsIsLiteral(t *testing.T) {
	tree, err := testEnv().ParseTree(map[string]any{"a": []any{1, "$${{ x }}", true}})
	if err != nil {
		t.Fatal(err)
	}
	got, ok := tree.Literal()
	if diff := cmp.Diff(map[string]any{"a": []any{1, "${{ x }}", true}}, got); !ok || diff != "" {
		t.Error(ok, diff)
	}
	got.(map[string]any)["a"] = nil
	if again, _ := tree.Literal(); again.(map[string]any)["a"] == nil {
		t.Error("the result shares its maps with the tree")
	}
}

func TestATreeTellsAllItsErrors(t *testing.T) {
	_, err := testEnv().ParseTree(map[string]any{
		"b": []any{"fine", "${{ evnt }}"}, "a": "x ${{ 1 +", "${{ key }}": 1, "c": map[string]any{"d": "${{ event.idd }}"},
	})
	var all expression.TreeErrors
	if !errors.As(err, &all) {
		t.Fatalf("%v is no TreeErrors", err)
	}
	const want = `the key "${{ key }}" cannot hold an expression; ` +
		`a: ${{ is not closed (end the expression with }}); ` +
		`b[1]: unknown name "evnt" (did you mean "event"?); ` +
		`c.d: unknown field "idd" (did you mean "id"?)`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]any{"b", 1}, all[2].Path); diff != "" {
		t.Error(diff)
	}
	if all[1].Err.Offset != 2 {
		t.Errorf("got offset %d", all[1].Err.Offset)
	}
}

func TestATreesErrorAtRunTimeHasAPath(t *testing.T) {
	tree, err := testEnv().ParseTree([]any{map[string]any{"url": "${{ change.prev.region }}"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = tree.Eval(testVars())
	var at *expression.TreeError
	if !errors.As(err, &at) || at.Err.Offset != 16 {
		t.Fatalf("got %#v", err)
	}
	if diff := cmp.Diff("[0].url: change.prev is nil; use ?. or ??", err.Error()); diff != "" {
		t.Error(diff)
	}
}

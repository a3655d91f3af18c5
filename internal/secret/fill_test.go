package secret_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/internal/secret"
)

func TestFill(t *testing.T) {
	value := func(name string) (string, error) {
		if name == "GONE" {
			return "", fmt.Errorf("there is no secret %s", name)
		}
		return "${{ " + name + " }}", nil // a value is not looked into
	}
	for text, want := range map[string]string{
		"":                 " []",
		"plain":            "plain []",
		"${{ secrets.A }}": "${{ A }} [${{ A }}]",
		"x://${{secrets.A}}:${{ secrets._b2 }}@y": "x://${{ A }}:${{ _b2 }}@y [${{ A }} ${{ _b2 }}]",
		"${{ secrets.GONE }}":                     "error: there is no secret GONE",
		"${{ event.id }}":                         "error: only ${{ secrets.NAME }} can stand here, not ${{ event.id }}",
		"${{ secrets.A + secrets.B }}":            "error: only ${{ secrets.NAME }} can stand here, not ${{ secrets.A + secrets.B }}",
		"${{ secrets.A":                           "error: a ${{ has no }}",
	} {
		filled, values, err := secret.Fill(text, value)
		got := fmt.Sprint(filled, " ", values)
		if err != nil {
			got = "error: " + err.Error()
		}
		if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" {
			t.Error(diff)
		}
	}
}

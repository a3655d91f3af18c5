package expression_test

import (
	"strings"
	"testing"

	"github.com/flightrules/flightrules/internal/expression"
)

// The parser lets the branches of ?: share a node, so that these double with
// each level.
func TestAShortExpressionThatStandsForALargeOneIsRefused(t *testing.T) {
	src := strings.Repeat("(", 60) + "true" + strings.Repeat(" ?: true)", 60)
	_, err := expression.NewEnv().Compile(src, expression.BoolResult)
	if err == nil || !strings.Contains(err.Error(), "more than 5000 parts") {
		t.Errorf("%v", err)
	}
}

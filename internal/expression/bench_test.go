package expression_test

import (
	"testing"

	"github.com/flightrules/flightrules/internal/expression"
)

// BenchmarkWhere evaluates a typical where.
func BenchmarkWhere(b *testing.B) {
	p, err := testEnv().Compile(`event.payload.region startsWith "eu-" && event.payload.n > 3`, expression.BoolResult)
	if err != nil {
		b.Fatal(err)
	}
	vars := testVars()
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := p.Bool(vars); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkCompile compiles the same where.
func BenchmarkCompile(b *testing.B) {
	env := testEnv()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := env.Compile(`event.payload.region startsWith "eu-" && event.payload.n > 3`, expression.BoolResult); err != nil {
			b.Fatal(err)
		}
	}
}

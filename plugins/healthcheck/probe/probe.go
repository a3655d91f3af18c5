// Package probe looks at one thing once: whether an address answers, a name
// resolves, a certificate lasts. It is the part of health
// checks that runs on satellites, and on the core for its own checks.
package probe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/expression"
	"github.com/flightrules/flightrules/internal/shape"
)

// Outcome is what came of looking once.
type Outcome string

// The outcomes, from good to bad.
const (
	Up       Outcome = "up"
	Degraded Outcome = "degraded" // it works, but slowly or not for long
	Down     Outcome = "down"
)

// Report is what looking once came to, as it is sent to the core.
type Report struct {
	Outcome   Outcome `json:"outcome"`
	LatencyUS int64   `json:"latency_us"`        // microseconds
	Message   string  `json:"message,omitempty"` // why it is not up; MaxMessage bytes at most
}

// MaxMessage is how long a message may be, in bytes.
const MaxMessage = 500

// Target is what is looked at: exactly one of these.
type Target struct {
	HTTP   *HTTP   `json:"http,omitempty" doc:"Asks a web server."`
	TCP    *TCP    `json:"tcp,omitempty" doc:"Connects to a port."`
	DNS    *DNS    `json:"dns,omitempty" doc:"Resolves a name."`
	TLS    *TLS    `json:"tls,omitempty" doc:"Looks at a certificate: whether it is valid, and for how long."`
	Script *Script `json:"script,omitempty" doc:"Runs a program, on satellites alone, from the files that scripts: gives them."`
	Ping   *Ping   `json:"ping,omitempty" doc:"Sends ICMP echoes. The system must allow that to the user: on Linux net.ipv4.ping_group_range."`
}

// Spec is a Target, and when it is not as it should be.
type Spec struct {
	Target
	DegradedAbove duration.Text `json:"degraded_above,omitempty" doc:"Longest latency that is still up."`
	Assert        []string      `json:"assert,omitempty" doc:"Conditions over result, in expr: one that does not hold means down."`
}

// kind is one way to look.
type kind interface {
	// check says what is wrong with the fields.
	check() error
	// texts are the fields in which ${{ env.NAME }} may stand.
	texts() []string
	// result is a value of the type that assertions see.
	result() any
	// look does it. An error says why it is down; a *CannotError, that it could
	// not be looked.
	look(ctx context.Context, e Environment) (finding, error)
}

// finding is what a look found.
type finding struct {
	result  any // as kind.result
	latency time.Duration
	warning string // why it is degraded; ""
}

// CannotError says that nothing could be looked at: it says nothing about the
// target.
type CannotError struct{ Err error }

// Error is what hindered it.
func (e *CannotError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *CannotError) Unwrap() error { return e.Err }

func cannot(format string, args ...any) error { return &CannotError{fmt.Errorf(format, args...)} }

// Type is the name of what is looked at: "http"; "" where it is not one thing.
func (t Target) Type() string {
	name, _, _ := t.kind()
	return name
}

// typeNames are those of the fields of Target.
const typeNames = "http, tcp, dns, tls, ping and script"

func (t Target) kind() (name string, k kind, err error) {
	n := 0
	set := func(field string, is bool, v kind) {
		if is {
			name, k = field, v
			n++
		}
	}
	set("http", t.HTTP != nil, t.HTTP)
	set("tcp", t.TCP != nil, t.TCP)
	set("dns", t.DNS != nil, t.DNS)
	set("tls", t.TLS != nil, t.TLS)
	set("ping", t.Ping != nil, t.Ping)
	set("script", t.Script != nil, t.Script)
	if n != 1 {
		return "", nil, fmt.Errorf("one of %s is wanted; there are %d", typeNames, n)
	}
	return name, k, nil
}

// Check says what is wrong with a Spec whose secrets are in those variables. The
// error begins with the name of the field.
func (s Spec) Check(variables ...string) error {
	name, k, err := s.kind()
	if err != nil {
		return err
	}
	if err := k.check(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if s.DegradedAbove < 0 {
		return errors.New("degraded_above: it is less than nothing")
	}
	for _, text := range k.texts() {
		if err := checkEnv(text, variables); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	_, err = s.assertions(k)
	return err
}

func (s Spec) assertions(k kind) ([]*expression.Program, error) {
	if len(s.Assert) == 0 {
		return nil, nil
	}
	form, err := shape.OfType(typeOf(k.result()))
	if err != nil {
		return nil, err
	}
	env := expression.NewEnv().With("result", form.Expr())
	programs := make([]*expression.Program, len(s.Assert))
	for i, text := range s.Assert {
		if programs[i], err = env.Compile(text, expression.BoolResult); err != nil {
			return nil, fmt.Errorf("assert[%d]: %w", i, err)
		}
	}
	return programs, nil
}

// Look looks once, until ctx ends. The error is a *CannotError.
func (s Spec) Look(ctx context.Context, e Environment) (Report, error) {
	began := time.Now()
	_, k, err := s.kind()
	if err != nil {
		return Report{}, cannot("%w", err)
	}
	programs, err := s.assertions(k)
	if err != nil {
		return Report{}, cannot("%w", err)
	}
	found, err := k.look(ctx, e)
	var hindered *CannotError
	switch {
	case errors.As(err, &hindered):
		return Report{}, hindered
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("no answer within its time: %w", err)
	}
	r := Report{Outcome: Up, LatencyUS: found.latency.Microseconds()}
	if err == nil {
		err = s.hold(programs, found.result)
	}
	limit := time.Duration(s.DegradedAbove)
	switch {
	case err != nil:
		r.Outcome, r.Message = Down, err.Error()
		r.LatencyUS = cmp.Or(r.LatencyUS, time.Since(began).Microseconds())
	case limit > 0 && found.latency > limit:
		r.Outcome = Degraded
		r.Message = fmt.Sprintf("it took %s, more than %s", found.latency.Round(100*time.Microsecond), duration.Format(limit))
	case found.warning != "":
		r.Outcome, r.Message = Degraded, found.warning
	}
	r.Message = clip(r.Message)
	return r, nil
}

// hold says which assertion does not hold.
func (s Spec) hold(programs []*expression.Program, result any) error {
	if len(programs) == 0 {
		return nil
	}
	form, err := shape.OfType(typeOf(result))
	if err != nil {
		return cannot("%w", err)
	}
	text, err := json.Marshal(result)
	if err != nil {
		return cannot("%w", err)
	}
	var plain any
	if err := json.Unmarshal(text, &plain); err != nil {
		return cannot("%w", err)
	}
	value, err := form.Decode(plain)
	if err != nil {
		return cannot("%w", err)
	}
	for _, p := range programs {
		ok, err := p.Bool(map[string]any{"result": value})
		if err != nil {
			return fmt.Errorf("the assertion %q cannot be evaluated: %w", p.Source(), err)
		}
		if !ok {
			return fmt.Errorf("the assertion %q does not hold", p.Source())
		}
	}
	return nil
}

// clip makes a text a message: in one piece of UTF-8, and not too long.
func clip(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text[:min(len(text), MaxMessage)], "\x00", ""), "")
}

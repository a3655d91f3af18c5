package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/flightrules/flightrules/internal/secret"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// maxRuns bounds how many assignments run at once. The others wait.
const maxRuns = 64

// schedule runs assignments, each at its interval, until it is stopped. It goes
// on whether the core is there or not.
type schedule struct {
	seed    string // of this satellite, so that several do not run at once
	runners map[string]plugins.Runner
	secrets func(ctx context.Context, r protocol.SecretsRequest) (map[string]string, error)
	files   func() (dir string, release func(), err error)
	keep    func(protocol.Item)
	log     *slog.Logger
	slots   chan struct{}

	mu      sync.Mutex
	running map[ref]*running
	stopped bool
	done    sync.WaitGroup
}

type ref struct{ capability, id string }

// running is an assignment that is in force.
type running struct {
	text []byte // the assignment as JSON
	stop context.CancelFunc
}

// set makes these all that is to be done. Those that are as before go on, with
// their phase; one that has changed begins anew. What each capability does then is
// told.
func (s *schedule) set(list []protocol.Assignment) map[string]protocol.Work {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	does := map[string]protocol.Work{}
	for name := range s.runners {
		does[name] = protocol.Work{}
	}
	before := s.running
	s.running = map[ref]*running{}
	for _, a := range list {
		key := ref{a.Capability, a.ID}
		work := does[a.Capability]
		text, err := json.Marshal(a)
		if err != nil {
			s.log.Error("an assignment cannot be read", "capability", a.Capability, "assignment", a.ID, "error", err)
			continue
		}
		if was, ok := before[key]; ok && bytes.Equal(was.text, text) {
			s.running[key] = was
			delete(before, key)
			work.Assigned++
			does[a.Capability] = work
			continue
		}
		if s.runners[a.Capability] == nil || a.Interval <= 0 || a.Timeout <= 0 {
			s.log.Warn("an assignment is not for this agent", "capability", a.Capability, "assignment", a.ID)
			work.Unfit = append(work.Unfit, a.ID)
			does[a.Capability] = work
			continue
		}
		work.Assigned++
		does[a.Capability] = work
		ctx, stop := context.WithCancel(context.Background())
		s.running[key] = &running{text, stop}
		s.done.Go(func() { s.repeat(ctx, a) })
	}
	for _, was := range before {
		was.stop()
	}
	return does
}

// stop ends all runs; what they would have said is lost.
func (s *schedule) stop() {
	s.mu.Lock()
	s.stopped = true
	for _, r := range s.running {
		r.stop()
	}
	s.mu.Unlock()
	s.done.Wait()
}

// repeat runs one assignment at its times. A time at which it is still running
// passes without another run.
func (s *schedule) repeat(ctx context.Context, a protocol.Assignment) {
	interval := time.Duration(a.Interval)
	next := time.Now().Add(s.untilFirst(time.Now(), a))
	for sleep(ctx, time.Until(next)) {
		s.run(ctx, a)
		next = next.Add(interval)
		if late := time.Since(next); late > 0 {
			next = next.Add((late/interval + 1) * interval)
		}
	}
}

// untilFirst spreads the first runs of assignments and of satellites over the
// interval, always in the same way: an agent that is started anew keeps its
// phase too.
func (s *schedule) untilFirst(now time.Time, a protocol.Assignment) time.Duration {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\x00%s\x00%s", s.seed, a.Capability, a.ID) // it never fails
	interval := uint64(a.Interval)
	phase, at := h.Sum64()%interval, uint64(now.UnixNano())%interval
	return time.Duration((phase + interval - at) % interval)
}

// run runs an assignment once.
func (s *schedule) run(ctx context.Context, a protocol.Assignment) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-s.slots }()
	began := time.Now()
	payload, err := s.attempt(ctx, a)
	if ctx.Err() != nil {
		return // it is not to be done any more
	}
	item := protocol.Item{
		Capability: a.Capability, Assignment: a.ID, At: began.UTC(), Duration: protocol.Duration(time.Since(began)), Payload: payload,
	}
	if err != nil {
		item.Payload, item.Error = nil, err.Error()[:min(len(err.Error()), protocol.MaxError)]
	}
	s.keep(item)
}

// attempt has the runner do it, in the time that there is. Secrets that it was
// given are masked in what it says.
func (s *schedule) attempt(ctx context.Context, a protocol.Assignment) (payload json.RawMessage, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(a.Timeout), errTimeout)
	defer cancel()
	var mu sync.Mutex
	var given []string
	run := uuid.NewString()
	job := plugins.Job{
		Assignment: plugins.Assignment{
			ID: a.ID, Interval: time.Duration(a.Interval), Timeout: time.Duration(a.Timeout), Spec: a.Spec, Secrets: declared(a),
		},
		Env: func(ctx context.Context, collector string) (map[string]string, error) {
			env, err := s.secrets(ctx, protocol.SecretsRequest{
				RequestID: uuid.NewString(), Capability: a.Capability, Assignment: a.ID, Collector: collector, RunID: run,
			})
			mu.Lock()
			defer mu.Unlock()
			for _, value := range env {
				given = append(given, value)
			}
			return env, err
		},
		Files: s.files,
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the runner panicked: %v", v)
		}
		mu.Lock()
		defer mu.Unlock()
		payload, err = masked(secret.NewMasker(given...), payload, err)
	}()
	payload, err = s.runners[a.Capability].Run(ctx, job)
	switch {
	case err != nil && context.Cause(ctx) == errTimeout:
		err = fmt.Errorf("%w of %s: %w", errTimeout, time.Duration(a.Timeout), err)
	case err == nil && len(payload) > protocol.MaxPayload:
		err = fmt.Errorf("the result has %d bytes; %d are allowed", len(payload), protocol.MaxPayload)
	}
	return payload, err
}

// declared are the collectors that have secrets; which, the core knows.
func declared(a protocol.Assignment) map[string]map[string]string {
	collectors := map[string]map[string]string{}
	for _, name := range a.Collectors {
		collectors[name] = nil
	}
	return collectors
}

var errTimeout = errors.New("it did not end within its timeout")

// masked takes secrets out of what came of a run.
func masked(m *secret.Masker, payload json.RawMessage, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, errors.New(strings.ToValidUTF8(m.Text(err.Error()), ""))
	}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, fmt.Errorf("the result is no JSON: %w", err)
	}
	return json.Marshal(m.Value(v))
}

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// ackPatience is how long an agent waits until it sends results again that were
// not acknowledged.
const ackPatience = 30 * time.Second

// beginWork opens the memory and goes on with what there was to do last.
func (a *agent) beginWork(ctx context.Context) (err error) {
	if a.Dir == "" {
		return errors.New("a folder is wanted, for results that the core has not taken yet")
	}
	if a.memory, err = openMemory(ctx, a.Dir, a.Log); err != nil {
		return fmt.Errorf("open what this satellite keeps in %s: %w", a.Dir, err)
	}
	list, err := a.memory.assignments(ctx)
	if err == nil {
		a.bundles, err = openBundles(a)
	}
	if err != nil {
		return errors.Join(err, a.memory.close())
	}
	a.schedule = &schedule{
		seed: a.ID, runners: a.Runners, secrets: a.secrets, files: a.bundles.files, keep: a.keep, log: a.Log, slots: make(chan struct{}, maxRuns),
	}
	a.schedule.set(list)
	return nil
}

func (a *agent) capabilities() []string {
	return append([]string{}, slices.Sorted(maps.Keys(a.Runners))...)
}

func (a *agent) buffered() int {
	if a.memory == nil {
		return 0
	}
	return int(a.memory.count.Load())
}

// instructed puts in force what the core tells the satellite to do, and tells what
// came of it.
func (s *session) instructed(ctx context.Context, m *protocol.Assignments) error {
	a := s.agent
	if m == nil || a.schedule == nil {
		return nil
	}
	if err := a.memory.assigned(context.Background(), m.Items); err != nil {
		a.Log.Error("what there is to do could not be written down", "error", err)
	}
	does := a.schedule.set(m.Items)
	a.Log.Info("told what to do", "revision", m.Revision, "assignments", len(m.Items))
	for _, name := range slices.Sorted(maps.Keys(does)) {
		work := does[name]
		work.Unfit = work.Unfit[:min(len(work.Unfit), protocol.MaxUnfit)]
		payload, err := json.Marshal(work)
		if err != nil {
			return err
		}
		if err := s.send(ctx, protocol.Status{Capability: name, Payload: payload}); err != nil {
			return err
		}
	}
	return nil
}

// supplied is what the core says of the files that the satellite is to have.
func (a *agent) supplied(m *protocol.Bundle) {
	if a.bundles != nil {
		a.bundles.wanted(m)
	}
}

// keep keeps a result until the core has taken it.
func (a *agent) keep(item protocol.Item) {
	if err := a.memory.add(context.Background(), time.Now(), item); err != nil {
		a.Log.Error("a result could not be kept and is lost", "capability", item.Capability, "assignment", item.Assignment, "error", err)
		return
	}
	poke(a.fresh)
}

// deliver sends results until ctx ends, a message at a time; one that is not
// acknowledged is sent again.
func (s *session) deliver(ctx context.Context) error {
	for {
		batch, err := s.memory.batch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var again <-chan time.Time
		if len(batch.Items) > 0 {
			batch.SentAt = time.Now().UTC()
			if err := s.send(ctx, batch); err != nil {
				return err
			}
			again = time.After(ackPatience)
		}
		if !s.waitToDeliver(ctx, again) {
			return nil
		}
	}
}

// waitToDeliver waits until there is something to send: when again is nil, for
// a result, or else until what was sent is acknowledged or has to be sent again.
func (s *session) waitToDeliver(ctx context.Context, again <-chan time.Time) bool {
	fresh := s.fresh
	if again != nil {
		fresh = nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-fresh:
	case <-s.acked:
	case <-again:
		s.Log.Warn("results were not acknowledged; sending them again")
	}
	return true
}

// taken forgets results that the core has taken.
func (s *session) taken(ctx context.Context, m protocol.ResultsAck) {
	if s.memory == nil {
		return
	}
	if err := s.memory.delivered(ctx, m.Stream, m.Seq); err != nil {
		s.Log.Error("delivered results could not be forgotten; they are sent again, and the core drops them", "error", err)
		return
	}
	poke(s.acked)
}

// secrets asks the core for the secrets of a run.
func (a *agent) secrets(ctx context.Context, r protocol.SecretsRequest) (map[string]string, error) {
	answer, err := ask[protocol.Secrets](ctx, a, r.RequestID, r)
	switch {
	case err != nil:
		return nil, err
	case answer.Error != nil:
		return nil, fmt.Errorf("secrets of collector %s: %s", r.Collector, answer.Error.Message)
	}
	return answer.Env, nil
}

// errAway is returned for what the core has to be asked for while it is away.
var errAway = errors.New("the core cannot be asked, it is away")

// questions are what the core is to answer.
type questions struct {
	mu      sync.Mutex
	waiting map[string]chan protocol.Message
}

func (q *questions) add(key string) (answer <-chan protocol.Message, forget func()) {
	ch := make(chan protocol.Message, 1)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting == nil {
		q.waiting = map[string]chan protocol.Message{}
	}
	q.waiting[key] = ch
	return ch, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.waiting, key)
	}
}

// answer gives an answer to whoever waits for it.
func (q *questions) answer(key string, m protocol.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if ch, ok := q.waiting[key]; ok {
		ch <- m // there is room: it is the first
		delete(q.waiting, key)
	}
}

// ask asks the core and waits for the answer that has the key, until ctx ends
// or the core is away.
func ask[M protocol.Message](ctx context.Context, a *agent, key string, question protocol.Message) (answer M, err error) {
	s := a.current.Load()
	if s == nil {
		return answer, errAway
	}
	got, forget := s.asked.add(key)
	defer forget()
	if err := s.send(ctx, question); err != nil {
		return answer, fmt.Errorf("%w: %w", errAway, err)
	}
	select {
	case m := <-got:
		return m.(M), nil
	case <-s.over:
		return answer, errAway
	case <-ctx.Done():
		return answer, context.Cause(ctx)
	}
}

// Package follow reads the logs of an engine as they grow, once for all who want
// to hear: transitions, events, decisions, and the statuses of runs.
package follow

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/engine/outbox"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/db"
)

const (
	// pageSize is how many entries of one log are read at once.
	pageSize = 500
	// restBetween is the shortest time between two looks, and lookAnyway the
	// longest: hints can be lost.
	restBetween = 100 * time.Millisecond
	lookAnyway  = time.Second
	// ringBytes and ringLength bound the newest messages, which are kept for all
	// readers. Who falls further behind has to begin again, from the log.
	ringBytes  = 16 << 20
	ringLength = 10_000
)

// Message is one entry of a log.
type Message struct {
	Topic Topic
	Seq   int64
	At    time.Time // zero: it is not known
	Kind  string    // of the entity that it is about; "": of none
	ID    string
	Rule  string // that it is about; "": of none
	Data  []byte // the entry, encoded
}

// Follower reads the logs, while there are readers. It is safe for concurrent use.
type Follower struct {
	entities *entities.Registry
	db       *db.DB
	log      *slog.Logger
	encode   func(entry any) ([]byte, error)

	mu      sync.Mutex
	readers int
	stop    context.CancelFunc // of the loop; nil: none runs
	ended   bool
	ready   bool
	reached Place // all up to here is or was in the ring
	ring    []Message
	bytes   int
	first   int64         // the index of the first message in the ring, since the beginning
	news    chan struct{} // closed when there is more, or an end
}

// New makes a Follower. encode is given an entities.Transition, or a
// journal.Event, Decision or RunChange.
func New(d *db.DB, r *entities.Registry, log *slog.Logger, encode func(entry any) ([]byte, error)) *Follower {
	return &Follower{entities: r, db: d, log: log, encode: encode, news: make(chan struct{})}
}

// Join begins to follow for one more reader. Call leave when it has gone.
func (f *Follower) Join() (leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.readers++
	if f.stop == nil && !f.ended {
		var ctx context.Context
		ctx, f.stop = context.WithCancel(context.Background())
		go f.run(ctx)
	}
	return f.leave
}

func (f *Follower) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers--; f.readers == 0 {
		f.halt()
	}
}

// End lets all readers go, and lets no more come.
func (f *Follower) End() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.halt()
}

// halt forgets what is in memory: whoever comes next begins anew.
func (f *Follower) halt() {
	if f.stop == nil {
		return
	}
	f.stop()
	f.first += int64(len(f.ring))
	f.stop, f.ready, f.ring, f.bytes = nil, false, nil, 0
	f.tell()
}

func (f *Follower) tell() {
	close(f.news)
	f.news = make(chan struct{})
}

// View is what a reader is given.
type View struct {
	Ready   bool // the end of the logs is known; until then there is nothing
	Ended   bool // nothing will come any more
	Behind  bool // what the reader is to see next is not kept any more
	List    []Message
	Next    int64           // the index to go on from
	Reached Place           // of the newest message
	News    <-chan struct{} // closed when there is more to see
}

// After gives the messages from an index on; a negative one is the end.
func (f *Follower) After(index int64) View {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := View{Ready: f.ready, Ended: f.ended, Next: f.first + int64(len(f.ring)), Reached: f.reached, News: f.news}
	if index < 0 || !f.ready {
		return v
	}
	if v.Behind = index < f.first; !v.Behind {
		v.List = slices.Clone(f.ring[index-f.first:])
	}
	return v
}

func (f *Follower) run(ctx context.Context) {
	routed, cancelRouted := f.db.Subscribe(outbox.Topic)
	defer cancelRouted()
	done, cancelDone := f.db.Subscribe(journal.Topic)
	defer cancelDone()
	var logs *logs
	for {
		var err error
		if logs == nil {
			logs, err = f.start(ctx)
		} else {
			err = f.look(ctx, logs)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			f.log.Warn("the logs could not be followed", "error", err)
		}
		rest := time.After(restBetween)
		if err != nil || !logs.waiting() {
			select {
			case <-ctx.Done():
				return
			case <-routed:
			case <-done:
			case <-time.After(lookAnyway):
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-rest:
		}
	}
}

// start finds the end of the logs.
func (f *Follower) start(ctx context.Context) (*logs, error) {
	logs := &logs{db: f.db}
	if err := logs.start(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() == nil {
		f.reached, f.ready = logs.reached, true
		f.tell()
	}
	return logs, nil
}

// look puts what is new into the ring.
func (f *Follower) look(ctx context.Context, logs *logs) error {
	for more := true; more; {
		more = false
		if err := logs.settle(ctx); err != nil {
			return err
		}
		var lists [topics][]Message
		for i := range topics {
			list, err := f.read(ctx, i, logs.reached[i], maxSeq)
			if err != nil {
				return err
			}
			lists[i] = logs.take(i, list)
			more = more || len(lists[i]) == pageSize
		}
		f.add(ctx, merge(lists))
	}
	return nil
}

func (f *Follower) add(ctx context.Context, list []Message) {
	if len(list) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	f.ring = append(f.ring, list...)
	for _, m := range list {
		f.bytes += len(m.Data)
		f.reached[m.Topic] = m.Seq
	}
	drop := 0
	for drop < len(f.ring)-1 && (f.bytes > ringBytes || len(f.ring)-drop > ringLength) {
		f.bytes -= len(f.ring[drop].Data)
		drop++
	}
	if drop > 0 {
		f.ring, f.first = slices.Clone(f.ring[drop:]), f.first+int64(drop)
	}
	f.tell()
}

// Resume is where to go on for somebody who was at a place, while the follower
// has reached another. They can be further: another node may have told them what
// this one has not read yet.
func (f *Follower) Resume(ctx context.Context, at, reached Place) (Place, error) {
	newest, err := newest(ctx, f.db)
	return at.within(newest, reached), err
}

// Between are messages of the logs after one place and up to another, a page of
// each at most; none: there are no more.
func (f *Follower) Between(ctx context.Context, after, until Place) ([]Message, error) {
	var lists [topics][]Message
	for i := range topics {
		if after[i] >= until[i] {
			continue
		}
		var err error
		if lists[i], err = f.read(ctx, i, after[i], until[i]); err != nil {
			return nil, err
		}
	}
	return merge(lists), nil
}

const maxSeq = 1<<63 - 1

func (f *Follower) read(ctx context.Context, of Topic, after, until int64) ([]Message, error) {
	idb := f.db.Read()
	switch of {
	case Transitions:
		list, err := f.entities.Log(ctx, idb, after, until, nil, pageSize)
		return messages(list, err, f.encode, func(t entities.Transition) Message {
			return Message{Topic: of, Seq: t.Seq, At: t.At, Kind: t.Kind, ID: t.ID}
		})
	case Events:
		list, err := journal.EventsAfter(ctx, idb, after, until, pageSize)
		return messages(list, err, f.encode, func(e journal.Event) Message {
			return Message{Topic: of, Seq: e.Seq, At: e.At.Time, Kind: e.Kind, ID: e.EntityID}
		})
	case Decisions:
		list, err := journal.DecisionsAfter(ctx, idb, after, until, pageSize)
		return messages(list, err, f.encode, func(d journal.Decision) Message {
			return Message{Topic: of, Seq: d.Seq, At: d.At.Time, Rule: d.Rule}
		})
	default:
		list, err := journal.RunChangesAfter(ctx, idb, after, until, pageSize)
		return messages(list, err, f.encode, func(c journal.RunChange) Message {
			return Message{Topic: of, Seq: c.Seq, Rule: c.Rule}
		})
	}
}

func messages[R any](rows []R, err error, encode func(any) ([]byte, error), about func(R) Message) ([]Message, error) {
	if err != nil {
		return nil, err
	}
	list := make([]Message, len(rows))
	for i, row := range rows {
		list[i] = about(row)
		if list[i].Data, err = encode(row); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// merge puts the logs together by time, each in its own order.
func merge(lists [topics][]Message) []Message {
	var all []Message
	for {
		best := Topic(-1)
		for i := range topics {
			if len(lists[i]) > 0 && (best < 0 || earlier(lists[i][0], lists[best][0])) {
				best = i
			}
		}
		if best < 0 {
			return all
		}
		all, lists[best] = append(all, lists[best][0]), lists[best][1:]
	}
}

// earlier orders messages of different logs; those whose time is not known come
// last.
func earlier(a, b Message) bool {
	if a.At.IsZero() || b.At.IsZero() {
		return !a.At.IsZero()
	}
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Topic, b.Topic)) < 0
}

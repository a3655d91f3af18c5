package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite/agent"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// prober does what its assignments say: it takes a while, and may fail.
type prober struct {
	mu      sync.Mutex
	runs    []run
	at      map[string]int // how many run now
	overlap bool
}

type run struct {
	id string
	at time.Time
}

type spec struct {
	Takes  string `json:"takes"`
	Fail   string `json:"fail"`
	Panic  string `json:"panic"`
	Secret string `json:"secret"` // the collector
	Bulk   int    `json:"bulk"`   // bytes to say
	Files  bool   `json:"files"`  // say what there is, now and after it took a while
}

func (p *prober) Run(ctx context.Context, job plugins.Job) (payload json.RawMessage, err error) {
	var s spec
	if err := json.Unmarshal(job.Spec, &s); err != nil {
		return nil, err
	}
	p.mu.Lock()
	if p.at == nil {
		p.at = map[string]int{}
	}
	p.runs = append(p.runs, run{job.ID, time.Now()})
	n := len(p.runs)
	p.at[job.ID]++
	p.overlap = p.overlap || p.at[job.ID] > 1
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.at[job.ID]--
	}()
	var before string
	if s.Files {
		dir, release, err := job.Files()
		if err != nil {
			return nil, err
		}
		defer release()
		before = listing(dir)
		defer func() {
			if after := listing(dir); err == nil && after != before {
				payload, err = nil, fmt.Errorf("the files were %s, and then %s", before, after)
			}
		}()
	}
	if s.Takes != "" {
		d, err := time.ParseDuration(s.Takes)
		if err != nil {
			return nil, err
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if s.Panic != "" {
		panic(s.Panic)
	}
	if s.Secret != "" {
		env, err := job.Env(ctx, s.Secret)
		if err != nil {
			return nil, err
		}
		return json.Marshal(map[string]any{"said": "it is " + env["TOKEN"], "number": 31337})
	}
	if s.Fail != "" {
		return nil, errors.New(s.Fail)
	}
	if s.Files {
		return json.Marshal(before)
	}
	if s.Bulk > 0 {
		return json.Marshal(strings.Repeat("x", s.Bulk))
	}
	return json.Marshal(n)
}

// times are when an assignment was run.
func (p *prober) times(id string) (list []time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.runs {
		if r.id == id {
			list = append(list, r.at)
		}
	}
	return list
}

// everyMinute is an assignment.
func everyMinute(id string, s spec) protocol.Assignment {
	text, _ := json.Marshal(s) // it has texts alone
	return protocol.Assignment{
		Capability: "probe", ID: id, Interval: protocol.Duration(time.Minute), Timeout: protocol.Duration(20 * time.Second), Spec: text,
	}
}

// work is an agent with a prober, and its core, in a bubble.
type work struct {
	*core
	t      *testing.T
	dir    string
	prober *prober
	stop   context.CancelFunc
	ended  chan error

	mu       sync.Mutex
	assigned []protocol.Assignment
	results  []protocol.Results // as they came
	hello    protocol.Authenticate
	deaf     bool // results are not acknowledged
	live     *socket
	onBeat   func(protocol.Heartbeat)
	answer   func(protocol.SecretsRequest) protocol.Secrets
	shop     *shop // of files; nil: the core says nothing of them
}

func atWork(t *testing.T, assigned []protocol.Assignment, test func(t *testing.T, w *work)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &work{t: t, dir: dir, prober: &prober{}, assigned: assigned}
		w.core = newCore(t, w.serve)
		w.start()
		test(t, w)
		w.end()
		w.close()
	})
}

func (w *work) start() {
	ctx, stop := context.WithCancel(context.Background())
	w.stop, w.ended = stop, make(chan error, 1)
	go func() {
		w.ended <- agent.Run(ctx, agent.Config{
			Core: "http://localhost/", ID: "the-id", Token: "the-token", Dir: w.dir, Runners: map[string]plugins.Runner{"probe": w.prober},
			HTTPClient: &http.Client{Transport: &http.Transport{DialContext: w.dial, DisableKeepAlives: true}},
		})
	}()
}

func (w *work) end() {
	w.stop()
	if err := <-w.ended; err != nil {
		w.t.Error(err)
	}
}

func (w *work) serve(s *socket) {
	m, err := s.read()
	if err != nil {
		return
	}
	w.mu.Lock()
	w.hello, _ = m.(protocol.Authenticate)
	w.live = s
	assignments := protocol.Assignments{Revision: 1, Items: w.assigned}
	w.mu.Unlock()
	s.send(protocol.Authenticated{HeartbeatInterval: protocol.Duration(interval), Assignments: &assignments, Bundle: w.shop.wanted()})
	for {
		m, err := s.read()
		if err != nil {
			return
		}
		switch m := m.(type) {
		case protocol.Heartbeat:
			w.mu.Lock()
			if w.onBeat != nil {
				w.onBeat(m)
			}
			w.mu.Unlock()
			s.send(ack(m))
		case protocol.SecretsRequest:
			s.send(w.answer(m))
		case protocol.BundleRequest, protocol.BlobRequest, protocol.SyncState:
			if answer := w.shop.serve(m); answer != nil {
				s.send(answer)
			}
		case protocol.Results:
			w.mu.Lock()
			deaf := w.deaf
			w.results = append(w.results, m)
			w.mu.Unlock()
			if !deaf {
				s.send(protocol.ResultsAck{Stream: m.Stream, Seq: m.Seq + int64(len(m.Items)) - 1})
			}
		}
	}
}

// tell sends the agent what it is to do now.
func (w *work) tell(list ...protocol.Assignment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.assigned = list
	w.live.send(protocol.Assignments{Revision: 2, Items: list})
}

// away says whether the core is.
func (w *work) away(away bool) {
	w.core.mu.Lock()
	w.refusing = away
	w.core.mu.Unlock()
	if away {
		w.mu.Lock()
		_ = w.live.conn.CloseNow()
		w.mu.Unlock()
	}
}

// items are the results that came, each once, by number.
func (w *work) items() (list []protocol.Item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := int64(1)
	for _, r := range w.results {
		for i, item := range r.Items {
			if seq := r.Seq + int64(i); seq >= next {
				list = append(list, item)
				next = seq + 1
			}
		}
	}
	return list
}

func pass(d time.Duration) {
	time.Sleep(d) // in a bubble this takes no time
	synctest.Wait()
}

func TestSchedule(t *testing.T) {
	t.Run("spreads first runs over the interval, and keeps the phase", func(t *testing.T) {
		var list []protocol.Assignment
		for i := range 60 {
			list = append(list, everyMinute(fmt.Sprint(i), spec{}))
		}
		atWork(t, list, func(t *testing.T, w *work) {
			began := time.Now()
			pass(5 * time.Minute)
			quarters := map[time.Duration]int{}
			for _, a := range list {
				at := w.prober.times(a.ID)
				if len(at) != 5 {
					t.Fatalf("%s ran %d times", a.ID, len(at))
				}
				quarters[at[0].Sub(began)/(15*time.Second)]++
				for i := 1; i < len(at); i++ {
					if d := at[i].Sub(at[i-1]); d != time.Minute {
						t.Errorf("%s ran again after %s", a.ID, d)
					}
				}
			}
			for q := range time.Duration(4) {
				if quarters[q] < 5 {
					t.Errorf("first runs by quarter of the interval: %v", quarters)
				}
			}
		})
	})
	t.Run("changes while it runs: the unchanged keep their phase, the changed begin anew", func(t *testing.T) {
		atWork(t, []protocol.Assignment{everyMinute("stays", spec{}), everyMinute("changes", spec{}), everyMinute("goes", spec{})}, func(t *testing.T, w *work) {
			pass(3*time.Minute + 10*time.Second)
			gone := len(w.prober.times("goes"))
			faster := everyMinute("changes", spec{})
			faster.Interval = protocol.Duration(10 * time.Second)
			w.tell(everyMinute("stays", spec{}), faster, everyMinute("new", spec{}))
			changed := time.Now()
			pass(3 * time.Minute)
			stays := w.prober.times("stays")
			for i := 1; i < len(stays); i++ {
				if d := stays[i].Sub(stays[i-1]); d != time.Minute {
					t.Errorf("it was run after %s", d)
				}
			}
			fast := 0
			for _, at := range w.prober.times("changes") {
				if at.After(changed) {
					fast++
				}
			}
			if len(stays) != 6 || fast != 18 || len(w.prober.times("new")) != 3 || len(w.prober.times("goes")) != gone {
				t.Errorf("stays %d, changes %d, new %d, goes %d after %d", len(stays), fast, len(w.prober.times("new")), len(w.prober.times("goes")), gone)
			}
		})
	})
	t.Run("does not run one twice at once, and ends it at its timeout", func(t *testing.T) {
		slow := everyMinute("slow", spec{Takes: "150s"})
		slow.Timeout = protocol.Duration(10 * time.Minute)
		stuck := everyMinute("stuck", spec{Takes: "1h"})
		atWork(t, []protocol.Assignment{slow, stuck, everyMinute("quick", spec{})}, func(t *testing.T, w *work) {
			pass(12 * time.Minute)
			for i, at := range w.prober.times("slow")[1:] {
				if d := at.Sub(w.prober.times("slow")[i]); d != 3*time.Minute {
					t.Errorf("slow ran after %s", d)
				}
			}
			if w.prober.overlap || len(w.prober.times("stuck")) != 12 || len(w.prober.times("quick")) != 12 {
				t.Errorf("overlap %t, stuck %d, quick %d", w.prober.overlap, len(w.prober.times("stuck")), len(w.prober.times("quick")))
			}
			for _, i := range w.items() {
				if i.Assignment == "stuck" && !strings.HasPrefix(i.Error, "it did not end within its timeout of 20s") {
					t.Errorf("stuck said %+v", i)
				}
				if i.Assignment == "slow" && time.Duration(i.Duration) != 150*time.Second {
					t.Errorf("slow said %+v", i)
				}
			}
		})
	})
	t.Run("goes on after failures and panics, and says so", func(t *testing.T) {
		atWork(t, []protocol.Assignment{everyMinute("fails", spec{Fail: "no route"}), everyMinute("panics", spec{Panic: "at the disco"})}, func(t *testing.T, w *work) {
			pass(3 * time.Minute)
			said := map[string]int{}
			for _, i := range w.items() {
				said[i.Assignment+": "+i.Error]++
			}
			if said["fails: no route"] != 3 || said["panics: the runner panicked: at the disco"] != 3 || len(said) != 2 {
				t.Errorf("said %v", said)
			}
		})
	})
	t.Run("leaves what it cannot do", func(t *testing.T) {
		strange := everyMinute("x", spec{})
		strange.Capability = "strange"
		never := everyMinute("never", spec{})
		never.Interval = 0
		atWork(t, []protocol.Assignment{strange, never, everyMinute("a", spec{})}, func(t *testing.T, w *work) {
			pass(2 * time.Minute)
			if len(w.prober.times("a")) != 2 || len(w.items()) != 2 || !slices.Equal(w.hello.Capabilities, []string{"probe"}) {
				t.Errorf("%d runs, %d results, %v", len(w.prober.times("a")), len(w.items()), w.hello.Capabilities)
			}
		})
	})
}

func TestDelivery(t *testing.T) {
	minutely := []protocol.Assignment{everyMinute("a", spec{})}
	t.Run("goes on while the core is away, and comes once, in order, with its times", func(t *testing.T) {
		atWork(t, minutely, func(t *testing.T, w *work) {
			pass(3 * time.Minute)
			w.away(true)
			pass(6 * time.Hour)
			w.away(false)
			pass(5 * time.Minute)
			w.wantAll("a")
		})
	})
	t.Run("is tried again until it is acknowledged", func(t *testing.T) {
		atWork(t, minutely, func(t *testing.T, w *work) {
			w.mu.Lock()
			w.deaf = true
			w.mu.Unlock()
			pass(3 * time.Minute)
			w.mu.Lock()
			w.deaf = false
			sent := len(w.results)
			w.mu.Unlock()
			pass(3 * time.Minute)
			w.wantAll("a")
			if sent < 3 || sent > 8 {
				t.Errorf("sent %d times in three minutes", sent)
			}
		})
	})
	t.Run("survives restarts of the agent, which keeps its phase, also while the core is away", func(t *testing.T) {
		atWork(t, minutely, func(t *testing.T, w *work) {
			pass(3 * time.Minute)
			w.away(true)
			pass(3 * time.Minute)
			w.end()
			w.start()
			pass(3 * time.Minute)
			w.end()
			w.start()
			w.away(false)
			pass(3 * time.Minute)
			at := w.prober.times("a")
			for i := 1; i < len(at); i++ {
				if d := at[i].Sub(at[i-1]); d != time.Minute {
					t.Errorf("it ran again after %s", d)
				}
			}
			w.wantAll("a")
		})
	})
	t.Run("tells how much waits", func(t *testing.T) {
		atWork(t, minutely, func(t *testing.T, w *work) {
			w.mu.Lock()
			w.deaf = true
			w.mu.Unlock()
			pass(10*time.Minute + 30*time.Second)
			m, err := w.agentSays()
			if beat, ok := m.(protocol.Heartbeat); err != nil || !ok || beat.Buffered < 9 {
				t.Errorf("%+v, %v", m, err)
			}
		})
	})
}

// agentSays is the agent's next heartbeat.
func (w *work) agentSays() (m protocol.Message, err error) {
	beats := make(chan protocol.Message, 1)
	w.mu.Lock()
	w.onBeat = func(m protocol.Heartbeat) {
		select {
		case beats <- m:
		default:
		}
	}
	w.mu.Unlock()
	select {
	case m = <-beats:
		return m, nil
	case <-time.After(time.Minute):
		return nil, errors.New("no heartbeat")
	}
}

// wantAll compares what came with what was run.
func (w *work) wantAll(id string) {
	w.t.Helper()
	times, items := w.prober.times(id), w.items()
	if len(times) != len(items) || len(times) == 0 {
		w.t.Fatalf("%d results of %d runs", len(items), len(times))
	}
	for i, at := range times {
		if !items[i].At.Equal(at) || string(items[i].Payload) != fmt.Sprint(i+1) {
			w.t.Fatalf("result %d is of %s and says %s; it was run at %s", i+1, items[i].At, items[i].Payload, at)
		}
	}
}

func TestSecretsAreAskedForAndMasked(t *testing.T) {
	atWork(t, []protocol.Assignment{everyMinute("a", spec{Secret: "http"})}, func(t *testing.T, w *work) {
		var asked []protocol.SecretsRequest
		w.mu.Lock()
		w.answer = func(r protocol.SecretsRequest) protocol.Secrets {
			asked = append(asked, r)
			if len(asked) == 2 {
				return protocol.Secrets{RequestID: r.RequestID, Error: &protocol.Error{Code: protocol.CodeUnresolvable, Message: "it cannot be had"}}
			}
			return protocol.Secrets{RequestID: r.RequestID, Env: map[string]string{"TOKEN": "hunter2", "PIN": "31337"}}
		}
		w.mu.Unlock()
		pass(2 * time.Minute)
		w.away(true)
		pass(time.Minute)
		w.away(false)
		pass(2 * time.Minute) // it connects again within one of them
		var got []string
		for _, i := range w.items() {
			got = append(got, string(i.Payload)+i.Error)
		}
		const masked, away = `{"number":"****","said":"it is ****"}`, "the core cannot be asked, it is away"
		if got = slices.Compact(got); !slices.Equal(got, []string{masked, "secrets of collector http: it cannot be had", away, masked}) {
			t.Errorf("got %q", got)
		}
		if a := asked[0]; a.Capability != "probe" || a.Assignment != "a" || a.Collector != "http" || a.RunID == "" || a.RunID == asked[1].RunID {
			t.Errorf("asked %+v", asked)
		}
	})
}

func TestAnAgentThatWorksNeedsAFolder(t *testing.T) {
	err := agent.Run(t.Context(), agent.Config{Core: "http://localhost", Runners: map[string]plugins.Runner{"probe": &prober{}}})
	if err == nil || !strings.Contains(err.Error(), "a folder is wanted") {
		t.Errorf("got %v", err)
	}
}

// FuzzFromCore sends an agent what a core does not: it goes on, and what it has
// not delivered stays.
func FuzzFromCore(f *testing.F) {
	for _, m := range append(slices.Clone(protocol.FromCore), protocol.FromAgent...) {
		frame, err := protocol.Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	f.Add([]byte(`{"type":"assignments","items":[{"capability":"probe","id":"x","interval":"-1s","timeout":"1ns"}]}`))
	f.Add([]byte(`{"type":"results_ack","stream":"","seq":9223372036854775807}`))
	f.Fuzz(func(t *testing.T, frame []byte) {
		atWork(t, []protocol.Assignment{everyMinute("a", spec{})}, func(t *testing.T, w *work) {
			pass(time.Second)
			m, err := protocol.Decode(frame)
			if _, ends := m.(protocol.AuthFailed); ends && err == nil {
				return // it is to stop then
			}
			w.mu.Lock()
			w.live.sendFrame(frame)
			w.mu.Unlock()
			pass(2 * time.Minute)
			w.away(true)
			pass(time.Second)
			w.away(false)
			pass(3 * time.Minute)
			if len(w.prober.times("a")) == 0 {
				t.Error("it does not work any more")
			}
			w.wantAll("a")
		})
	})
}

// TestAMonthWithoutTheCore has the core away for longer than the agent keeps
// results: what it holds on disk stays bounded, the oldest goes first and is
// counted, and all that was kept arrives once, in order, with its times.
func TestAMonthWithoutTheCore(t *testing.T) {
	const month, every = 30 * 24 * time.Hour, 20 * time.Minute
	var list []protocol.Assignment
	for _, id := range []string{"a", "b"} {
		a := everyMinute(id, spec{Bulk: 4000})
		a.Interval = protocol.Duration(every)
		list = append(list, a)
	}
	atWork(t, list, func(t *testing.T, w *work) {
		pass(time.Hour)
		before := len(w.items())
		w.away(true)
		began := time.Now()
		most := int64(0)
		for time.Since(began) < month {
			pass(24 * time.Hour)
			most = max(most, sizeOf(t, w.dir))
		}
		week := 2 * int(agent.MaxBufferedFor/every)
		if limit := int64(2 * week * 4000); most > limit+1<<23 { // and the log of writes
			t.Errorf("it held %d KiB on disk, more than twice what a week makes", most>>10)
		}
		back := time.Now()
		w.away(false)
		pass(30 * time.Minute)

		w.mu.Lock()
		results := w.results
		w.mu.Unlock()
		var kept []protocol.Item
		next, dropped := int64(0), int64(0)
		for _, r := range results {
			if r.SentAt.Before(back) {
				next = r.Seq + int64(len(r.Items))
				continue
			}
			if len(kept) == 0 {
				dropped = r.Seq - next
				next = r.Seq
			}
			if r.Seq != next || r.Dropped != dropped {
				t.Fatalf("number %d comes after %d, with %d dropped, want %d", r.Seq, next-1, r.Dropped, dropped)
			}
			next += int64(len(r.Items))
			kept = append(kept, r.Items...)
		}
		if made := len(w.prober.runs); before+int(dropped)+len(kept) != made {
			t.Errorf("%d before, %d dropped and %d kept, of %d", before, dropped, len(kept), made)
		}
		if len(kept) < week || len(kept) > week+20 {
			t.Errorf("it kept %d results, and a week makes %d", len(kept), week)
		}
		times := map[string]time.Time{}
		for i, item := range kept {
			if i > 0 && item.At.Before(kept[i-1].At) {
				t.Fatalf("the result of %s comes after that of %s", item.At, kept[i-1].At)
			}
			if last, ok := times[item.Assignment]; ok && item.At.Sub(last) != every {
				t.Fatalf("%s: the result of %s comes after that of %s", item.Assignment, item.At, last)
			}
			times[item.Assignment] = item.At
		}
	})
}

// sizeOf is what the files of a folder have, in bytes.
func sizeOf(t *testing.T, dir string) (size int64) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file that SQLite has just removed
		}
		size += info.Size()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return size
}

// The core is told what the agent does of what it was told, and what it cannot do.
func TestWhatIsDoneIsTold(t *testing.T) {
	other := everyMinute("x", spec{})
	other.Capability = "later"
	broken := everyMinute("y", spec{})
	broken.Interval = 0
	atWork(t, []protocol.Assignment{everyMinute("a", spec{}), everyMinute("b", spec{}), other, broken}, func(t *testing.T, w *work) {
		pass(time.Second)
		w.tell(everyMinute("a", spec{}))
		pass(time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		var got []string
		for _, frame := range w.live.frames {
			if strings.Contains(frame, `"type":"status"`) {
				got = append(got, frame)
			}
		}
		want := []string{
			`{"type":"status","capability":"later","payload":{"assigned":0,"unfit":["x"]}}`,
			`{"type":"status","capability":"probe","payload":{"assigned":2,"unfit":["y"]}}`,
			`{"type":"status","capability":"probe","payload":{"assigned":1}}`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("it told %q", got)
		}
	})
}

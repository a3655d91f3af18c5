package satellite_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/internal/clock"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/plugins/satellite"
	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

// prober is a plugin that has satellites work. What they report it keeps in a
// table, and in memory what it was told.
type prober struct {
	remote  plugins.Remote
	changed []string
	fail    error         // of Results
	blocked chan struct{} // what Results waits for; nil: nothing
	manifest
}

// manifest is a bundle of one file.
type manifest struct{}

const (
	bundleHash = "the-bundle"
	brokenHash = "the-broken-bundle"
	blobDigest = "the-blob"
	blobText   = "#!/bin/sh\nexit 0\n"
)

func (manifest) Manifest(_ context.Context, hash string) (json.RawMessage, []string, error) {
	if hash == brokenHash {
		panic("it is broken")
	}
	return json.RawMessage(`{"files": ["run.sh"]}`), []string{blobDigest}, nil
}

func (manifest) Blob(_ context.Context, _ string, offset int64, limit int) ([]byte, int64, error) {
	return []byte(blobText)[offset:min(int(offset)+limit, len(blobText))], int64(len(blobText)), nil
}

func (manifest) Changed(context.Context, bun.Tx, []plugins.RemoteSatellite) error { return nil }

func (*prober) Name() string    { return "prober" }
func (*prober) Needs() []string { return []string{"satellite"} }

func (f *prober) Register(h *plugins.Host) (err error) {
	if f.remote, err = h.Remote(); err != nil {
		return err
	}
	return errors.Join(f.remote.Bundles(f), f.remote.Capability(plugins.Capability{
		Name: "probe", Doc: "Looks at something.", Results: f.results,
		Changed: func(_ context.Context, _ bun.Tx, list []plugins.RemoteSatellite) error {
			for _, s := range list {
				f.changed = append(f.changed, fmt.Sprintf("%s in %s online=%t removed=%t", s.Name, s.Region, s.Online, s.Removed))
			}
			return nil
		},
	}))
}

func (f *prober) results(ctx context.Context, tx bun.Tx, from plugins.RemoteSatellite, list []plugins.RemoteResult) error {
	if f.blocked != nil {
		<-f.blocked
	}
	for _, r := range list {
		text := fmt.Sprintf("%s %s %s %s%s", from.Name, r.Assignment, r.At.Format(time.RFC3339), r.Payload, r.Error)
		if _, err := tx.NewRaw("INSERT INTO taken (what) VALUES (?)", text).Exec(ctx); err != nil {
			return err
		}
	}
	return f.fail
}

// worker is a core with a prober.
type worker struct {
	*node
	prober *prober
}

func working(t *testing.T, url string) *worker {
	t.Helper()
	d := openDB(t, url)
	w := &worker{prober: &prober{}}
	c := clock.At(start)
	w.node = newNode(t, d, c.Now, satellite.Config{}, w.prober)
	w.Manual = c
	w.sql("CREATE TABLE taken (what TEXT)")
	return w
}

// taken is what was reported.
func (w *worker) taken() (list []string) {
	w.t.Helper()
	must(w.t, w.db.Read().NewRaw("SELECT what FROM taken").Scan(w.t.Context(), &list))
	return list
}

func (w *worker) assign(k known, work ...plugins.Assignment) error {
	return w.db.Write(w.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		return w.prober.remote.Assign(ctx, tx, "probe", k.id, work)
	})
}

func probe(id string) plugins.Assignment {
	return plugins.Assignment{ID: id, Interval: time.Minute, Timeout: 10 * time.Second, Spec: json.RawMessage(`{"url": "http://` + id + `"}`)}
}

// report sends results of an assignment, numbered from seq on.
func (w *worker) report(s *satellite.Session, stream string, seq int64, items ...protocol.Item) []protocol.Message {
	return w.send(s, protocol.Results{Stream: stream, Seq: seq, SentAt: w.Now(), Items: items})
}

// send sends a message and gives what the core said since.
func (w *worker) send(s *satellite.Session, m protocol.Message) []protocol.Message {
	w.t.Helper()
	frame, err := protocol.Encode(m)
	must(w.t, err)
	s.Told()
	w.plugin.Take(w.t.Context(), s, frame)
	return s.Told()
}

func (w *worker) item(id string, payload int) protocol.Item {
	return protocol.Item{Capability: "probe", Assignment: id, At: w.Now(), Payload: json.RawMessage(fmt.Sprint(payload))}
}

// line is what the prober keeps of an item.
func (w *worker) line(satellite, id string, at time.Time, payload any) string {
	return fmt.Sprintf("%s %s %s %v", satellite, id, at.Format(time.RFC3339), payload)
}

func (w *worker) wantTaken(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.taken()); diff != "" {
		w.t.Error(diff)
	}
}

func wantTold(t *testing.T, got []protocol.Message, want ...protocol.Message) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAssignments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		w := working(t, url)
		k, s := w.online("edge-1")
		revision := func() int64 {
			var r int64
			must(t, w.db.Read().NewRaw("SELECT revision FROM satellites WHERE id = ?", k.id).Scan(t.Context(), &r))
			return r
		}
		told := func() []protocol.Message {
			s.Told()
			must(t, w.plugin.CheckSessions(t.Context()))
			return s.Told()
		}
		wire := func(id string, collectors ...string) protocol.Assignment {
			return protocol.Assignment{
				Capability: "probe", ID: id, Interval: protocol.Duration(time.Minute), Timeout: protocol.Duration(10 * time.Second),
				Spec: json.RawMessage(`{"url":"http://` + id + `"}`), Collectors: collectors,
			}
		}

		t.Run("are pushed when they change, without the names of secrets", func(t *testing.T) {
			secretive := probe("b")
			secretive.Secrets = map[string]map[string]string{"http": {"TOKEN": "DB_PASSWORD"}}
			must(t, w.assign(k, probe("a"), secretive))
			wantTold(t, told(), protocol.Assignments{Revision: 1, Items: []protocol.Assignment{wire("a"), wire("b", "http")}})
			wantTold(t, told())
		})
		t.Run("are hinted at on every node, once they are stored", func(t *testing.T) {
			hint, cancel := w.db.Subscribe("satellite.sessions")
			defer cancel()
			must(t, w.assign(k, probe("a"), probe("c")))
			select {
			case <-hint:
			default:
				t.Error("no node was told to look")
			}
			secretive := probe("b")
			secretive.Secrets = map[string]map[string]string{"http": {"TOKEN": "DB_PASSWORD"}}
			must(t, w.assign(k, probe("a"), secretive))
			wantTold(t, told(), protocol.Assignments{Revision: 3, Items: []protocol.Assignment{wire("a"), wire("b", "http")}})
		})
		t.Run("that stay as they are change nothing", func(t *testing.T) {
			secretive := probe("b")
			secretive.Secrets = map[string]map[string]string{"http": {"TOKEN": "DB_PASSWORD"}}
			must(t, w.assign(k, secretive, probe("a")))
			if got := revision(); got != 3 {
				t.Errorf("revision %d", got)
			}
		})
		t.Run("that are gone go", func(t *testing.T) {
			must(t, w.assign(k, probe("a")))
			wantTold(t, told(), protocol.Assignments{Revision: 4, Items: []protocol.Assignment{wire("a")}})
		})
		t.Run("are refused when they cannot be", func(t *testing.T) {
			quick, endless, broken, large := probe("x"), probe("x"), probe("x"), probe("x")
			quick.Interval, endless.Timeout, broken.Spec = time.Millisecond, 0, json.RawMessage(`{`)
			large.Spec = json.RawMessage(`"` + strings.Repeat("x", protocol.MaxFrame) + `"`)
			var many []plugins.Assignment
			for i := range 12000 {
				many = append(many, plugins.Assignment{ID: fmt.Sprint(i), Interval: time.Minute, Timeout: time.Second})
			}
			if err := w.assign(k, many...); err == nil || !strings.Contains(err.Error(), "too much to do") {
				t.Errorf("%d assignments: %v", len(many), err)
			}
			for want, work := range map[string][]plugins.Assignment{
				"an id has": {probe("")}, "the interval is": {quick}, "there is a timeout": {endless}, "spec: ": {broken},
				"too much to do": {large}, "twice": {probe("x"), probe("x")},
			} {
				if err := w.assign(k, work...); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %s", err, want)
				}
			}
			if err := w.assign(known{id: "nobody"}, probe("x")); err == nil || !strings.Contains(err.Error(), "no such satellite") {
				t.Errorf("got %v", err)
			}
			if got := revision(); got != 4 {
				t.Errorf("revision %d", got)
			}
		})
		t.Run("go with their satellite", func(t *testing.T) {
			w.call(204, "DELETE", "/api/v1/satellites/"+k.id, "", nil)
			var left int
			must(t, w.db.Read().NewRaw("SELECT COUNT(*) FROM satellite_assignments").Scan(t.Context(), &left))
			if left != 0 {
				t.Errorf("%d are left", left)
			}
		})
	})
}

func TestResults(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		w := working(t, url)
		k, s := w.online("edge-1")
		other, _ := w.online("edge-2")
		must(t, w.assign(k, probe("a")))
		must(t, w.assign(other, probe("b")))
		var want []string
		add := func(at time.Time, payload any) { want = append(want, w.line("edge-1", "a", at, payload)) }

		t.Run("are taken and acknowledged", func(t *testing.T) {
			wantTold(t, w.report(s, "s", 1, w.item("a", 1), w.item("a", 2)), protocol.ResultsAck{Stream: "s", Seq: 2})
			add(w.Now(), 1)
			add(w.Now(), 2)
			w.wantTaken(want...)
		})
		t.Run("are taken once", func(t *testing.T) {
			before := w.counted("flightrules_satellite_results_total")
			wantTold(t, w.report(s, "s", 1, w.item("a", 1), w.item("a", 2)), protocol.ResultsAck{Stream: "s", Seq: 2})
			if got := w.counted("flightrules_satellite_results_total"); got != before {
				t.Errorf("counted %v, after %v", got, before)
			}
			wantTold(t, w.report(s, "s", 2, w.item("a", 2), w.item("a", 3)), protocol.ResultsAck{Stream: "s", Seq: 3})
			add(w.Now(), 3)
			w.wantTaken(want...)
		})
		t.Run("are taken once, also by another node and session", func(t *testing.T) {
			s = w.connect(k)
			wantTold(t, w.report(s, "s", 3, w.item("a", 3)), protocol.ResultsAck{Stream: "s", Seq: 3})
			w.wantTaken(want...)
		})
		t.Run("of another memory have numbers of their own", func(t *testing.T) {
			wantTold(t, w.report(s, "t", 1, w.item("a", 4)), protocol.ResultsAck{Stream: "t", Seq: 1})
			wantTold(t, w.report(s, "s", 3, w.item("a", 3)), protocol.ResultsAck{Stream: "s", Seq: 3})
			add(w.Now(), 4)
			w.wantTaken(want...)
		})
		t.Run("of what is not assigned are refused and counted, and nothing else is", func(t *testing.T) {
			strange := w.item("a", 0)
			strange.Capability = "strange"
			huge := w.item("a", 0)
			huge.Payload = json.RawMessage(`"` + strings.Repeat("x", protocol.MaxPayload) + `"`)
			wantTold(t, w.report(s, "s", 4, w.item("b", 0), strange, w.item("a", 5), huge), protocol.ResultsAck{Stream: "s", Seq: 7})
			add(w.Now(), 5)
			w.wantTaken(want...)
			var shown satellite.Item
			w.call(200, "GET", "/api/v1/satellites/edge-1", "", &shown)
			if shown.Results.Refused != 3 {
				t.Errorf("%d refused", shown.Results.Refused)
			}
		})
		t.Run("keep their times, unless the agent's clock is wrong", func(t *testing.T) {
			late := w.item("a", 6)
			late.At = w.Now().Add(-72 * time.Hour)
			add(late.At, 6)
			w.report(s, "s", 8, late)
			// Its clock is two hours ahead: it began ten minutes ago.
			ahead := w.item("a", 7)
			ahead.At = w.Now().Add(2*time.Hour - 10*time.Minute)
			add(w.Now().Add(-10*time.Minute), 7)
			w.send(s, protocol.Results{Stream: "s", Seq: 9, SentAt: w.Now().Add(2 * time.Hour), Items: []protocol.Item{ahead}})
			future := w.item("a", 8)
			future.At = w.Now().Add(time.Hour)
			add(w.Now(), 8)
			w.report(s, "s", 10, future)
			w.wantTaken(want...)
		})
		t.Run("without a payload have an error", func(t *testing.T) {
			empty, failed := w.item("a", 0), w.item("a", 0)
			empty.Payload, failed.Payload, failed.Error = nil, nil, "no route to \x00 host"
			w.report(s, "s", 11, empty, failed)
			add(w.Now(), "the satellite gave neither a payload nor an error")
			add(w.Now(), "no route to  host")
			w.wantTaken(want...)
		})
		t.Run("that cannot be taken for now wait", func(t *testing.T) {
			w.prober.fail = errors.New("not now")
			wantTold(t, w.report(s, "s", 13, w.item("a", 9)))
			w.wantTaken(want...)
			w.prober.fail = nil
			wantTold(t, w.report(s, "s", 13, w.item("a", 9)), protocol.ResultsAck{Stream: "s", Seq: 13})
			add(w.Now(), 9)
			w.wantTaken(want...)
		})
		t.Run("of an older session are not taken", func(t *testing.T) {
			old := s
			w.elsewhere(k)
			if told := w.report(old, "s", 14, w.item("a", 10)); slices.ContainsFunc(told, isAck) {
				t.Errorf("told %v", told)
			}
			w.wantTaken(want...)
			s = w.connect(k)
		})
		t.Run("that were lost are counted", func(t *testing.T) {
			before := w.counted("flightrules_satellite_results_total")
			w.send(s, protocol.Results{Stream: "s", Seq: 20, Dropped: 6, SentAt: w.Now(), Items: []protocol.Item{w.item("a", 11)}})
			if got := w.counted("flightrules_satellite_results_total") - before; got != 7 {
				t.Errorf("counted %v", got)
			}
			add(w.Now(), 11)
			w.wantTaken(want...)
		})
		t.Run("have bounded streams", func(t *testing.T) {
			for i := range 50 {
				w.Add(time.Second)
				w.report(s, fmt.Sprint("stream ", i), 1, w.item("b", 0))
			}
			var left int
			must(t, w.db.Read().NewRaw("SELECT COUNT(*) FROM satellite_streams").Scan(t.Context(), &left))
			if left != 16 {
				t.Errorf("%d streams", left)
			}
			must(t, w.db.Read().NewRaw("SELECT COUNT(*) FROM satellite_streams WHERE stream = 'stream 49'").Scan(t.Context(), &left))
			if left != 1 {
				t.Error("the newest is forgotten")
			}
		})
		t.Run("that make no sense are answered with an error", func(t *testing.T) {
			for _, m := range []protocol.Results{
				{Seq: 1, SentAt: start, Items: []protocol.Item{w.item("a", 0)}},
				{Stream: "s", SentAt: start, Items: []protocol.Item{w.item("a", 0)}},
				{Stream: "s", Seq: 1, SentAt: start},
				{Stream: "s", Seq: 1, Items: []protocol.Item{w.item("a", 0)}},
				{Stream: "s", Seq: 1, SentAt: start, Items: make([]protocol.Item, protocol.MaxItems+1)},
			} {
				if told := w.send(s, m); len(told) != 1 || told[0].Type() != "error" {
					t.Errorf("%+v: told %v", m, told)
				}
			}
			w.wantTaken(want...)
		})
	})
}

// TestASlowDatabaseKeepsNoHeartbeatWaiting has results wait for something, and
// more come than are taken in.
func TestASlowDatabaseKeepsNoHeartbeatWaiting(t *testing.T) {
	w := working(t, dbtest.SQLite(t))
	k, s := w.online("edge-1")
	must(t, w.assign(k, probe("a")))
	w.prober.blocked = make(chan struct{})
	receive := func(m protocol.Message) {
		frame, err := protocol.Encode(m)
		must(t, err)
		w.plugin.Receive(t.Context(), s, frame)
	}
	s.Told()
	receive(protocol.Results{Stream: "s", Seq: 1, SentAt: w.Now(), Items: []protocol.Item{w.item("a", 1)}})
	for range 64 { // one more than there is room for, if the results are not being worked on yet
		receive(protocol.Status{Capability: "probe", Payload: json.RawMessage(`1`)})
	}
	s.Told()
	receive(protocol.Status{Capability: "probe", Payload: json.RawMessage(`2`)})
	told := s.Told()
	if len(told) != 1 || told[0].(protocol.Error).Code != protocol.CodeRateLimited {
		t.Errorf("told %v", told)
	}
	receive(protocol.Heartbeat{SentAt: w.Now(), Buffered: 66})
	close(w.prober.blocked)
	s.Finish()
	must(t, w.plugin.Flush(t.Context()))
	var shown satellite.Item
	w.call(200, "GET", "/api/v1/satellites/edge-1", "", &shown)
	if shown.Results.Buffered != 66 || len(w.taken()) != 1 {
		t.Errorf("%v taken, and %+v", w.taken(), shown)
	}
}

// elsewhere connects a satellite to another node: this one has not heard of it.
func (w *worker) elsewhere(k known) {
	w.t.Helper()
	w.sql("UPDATE satellites SET session_epoch = session_epoch + 1, session_id = 'another' WHERE id = ?", k.id)
}

func isAck(m protocol.Message) bool { return m.Type() == "results_ack" }

func TestSecretsOfAssignments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		w := working(t, url)
		k, s := w.online("edge-1")
		other, _ := w.online("edge-2")
		own := probe("a")
		own.Secrets = map[string]map[string]string{"http": {"TOKEN": "DB_PASSWORD"}, "plain": {}, "broken": {"X": "NOT_THERE"}}
		must(t, w.assign(k, own))
		others := probe("b")
		others.Secrets = own.Secrets
		must(t, w.assign(other, others))
		ask := func(s *satellite.Session, assignment, collector string) protocol.Secrets {
			told := w.send(s, protocol.SecretsRequest{RequestID: "1", Capability: "probe", Assignment: assignment, Collector: collector, RunID: "r"})
			if len(told) != 1 {
				return protocol.Secrets{}
			}
			got, _ := told[0].(protocol.Secrets)
			return got
		}
		if diff := cmp.Diff(protocol.Secrets{RequestID: "1", Env: map[string]string{"TOKEN": "hunter2"}}, ask(s, "a", "http")); diff != "" {
			t.Error(diff)
		}
		for _, c := range []struct{ name, assignment, collector, code string }{
			{"of another satellite", "b", "http", protocol.CodeNotAssigned},
			{"of nothing", "c", "http", protocol.CodeNotAssigned},
			{"of another collector", "a", "tcp", protocol.CodeNoCollector},
			{"of a collector without any", "a", "plain", protocol.CodeNoSecrets},
			{"that are not there", "a", "broken", protocol.CodeUnresolvable},
		} {
			if got := ask(s, c.assignment, c.collector); got.Error == nil || got.Error.Code != c.code || got.Env != nil {
				t.Errorf("%s: %+v", c.name, got)
			}
		}
		t.Run("of an assignment that has ended", func(t *testing.T) {
			must(t, w.assign(k))
			if got := ask(s, "a", "http"); got.Error == nil || got.Error.Code != protocol.CodeNotAssigned {
				t.Errorf("got %+v", got)
			}
			must(t, w.assign(k, own))
		})
		t.Run("for a session that has ended", func(t *testing.T) {
			w.elsewhere(k)
			if got := ask(s, "a", "http"); got.Env != nil {
				t.Errorf("got %+v", got)
			}
		})
	})
}

func TestASatelliteGetsItsOwnBundleAlone(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		w := working(t, url)
		k, s := w.online("edge-1")
		wantTold(t, w.send(s, protocol.BundleRequest{Hash: bundleHash}),
			protocol.BundleManifest{Hash: bundleHash, Error: &protocol.Error{Code: protocol.CodeNotThisBundle, Message: "this satellite is to have another bundle"}})
		notIts := &protocol.Error{Code: protocol.CodeNotThisBundle, Message: "this satellite is to have another file"}
		wantTold(t, w.send(s, protocol.BlobRequest{Digest: blobDigest}), protocol.Blob{Digest: blobDigest, Error: notIts})
		must(t, w.db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			return w.prober.remote.SetBundle(ctx, tx, k.id, bundleHash)
		}))
		must(t, w.plugin.CheckSessions(t.Context()))
		wantTold(t, s.Told(), protocol.Bundle{Hash: bundleHash})
		wantTold(t, w.send(s, protocol.BundleRequest{Hash: bundleHash}), protocol.BundleManifest{Hash: bundleHash, Manifest: json.RawMessage(`{"files": ["run.sh"]}`)})
		wantTold(t, w.send(s, protocol.BlobRequest{Digest: blobDigest, Offset: 10}),
			protocol.Blob{Digest: blobDigest, Offset: 10, Size: int64(len(blobText)), Data: []byte(blobText[10:])})
		wantTold(t, w.send(s, protocol.BlobRequest{Digest: "another"}), protocol.Blob{Digest: "another", Error: notIts})
		wantTold(t, w.send(s, protocol.BlobRequest{Digest: blobDigest, Offset: -1}), protocol.Blob{Digest: blobDigest, Offset: -1, Error: notIts})
		wantTold(t, w.send(s, protocol.SyncState{Bundle: bundleHash, Status: protocol.Ready}))
		var kept string
		must(t, w.db.Read().NewRaw("SELECT payload FROM satellite_statuses WHERE capability = 'bundle'").Scan(t.Context(), &kept))
		if kept != `{"bundle":"the-bundle","status":"ready"}` {
			t.Errorf("kept %s", kept)
		}
	})
}

func TestOthersAreToldOfSatellites(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		w := working(t, url)
		told := func(what string, want ...string) {
			t.Helper()
			if diff := cmp.Diff(want, slices.Compact(w.prober.changed)); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
			w.prober.changed = nil
		}
		k := w.create("edge-1")
		told("created", "edge-1 in eu online=false removed=false")
		s := w.connect(k)
		told("connected", "edge-1 in eu online=true removed=false")
		w.heartbeat(s)
		told("a heartbeat")
		w.advance(threshold + time.Second)
		told("lost", "edge-1 in eu online=false removed=false")
		w.heartbeat(s)
		told("recovered", "edge-1 in eu online=true removed=false")
		w.call(200, "PATCH", "/api/v1/satellites/"+k.id, `{"region": "us"}`, nil)
		told("moved", "edge-1 in us online=true removed=false")
		must(t, w.plugin.Disconnect(t.Context(), s))
		told("left", "edge-1 in us online=false removed=false")
		list, err := w.prober.remote.Satellites(t.Context(), w.db.Read())
		must(t, err)
		if len(list) != 1 || list[0].Name != "edge-1" || list[0].Online || list[0].Tags["tier"] != "1" {
			t.Errorf("listed %+v", list)
		}
		w.call(204, "DELETE", "/api/v1/satellites/"+k.id, "", nil)
		told("removed", "edge-1 in us online=false removed=true")
		w.create("edge-2")
		w.prober.changed = nil
		w.call(204, "DELETE", "/api/v1/satellites/edge-2", "", nil)
		told("removed unseen", "edge-2 in eu online=false removed=true")
	})
}

func TestCapabilitiesAreRefused(t *testing.T) {
	w := working(t, dbtest.SQLite(t))
	for want, c := range map[string]plugins.Capability{
		"a name is": {Name: "No", Results: w.prober.results}, "already": {Name: "probe", Results: w.prober.results}, "Results is wanted": {Name: "x"},
	} {
		if err := w.prober.remote.Capability(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := w.prober.remote.Bundles(w.prober); err == nil {
		t.Error("two plugins have bundles")
	}
}

// FuzzFrames sends a satellite's session what it may not be ready for: nothing
// of it harms another satellite, or reaches what is not its own.
func FuzzFrames(f *testing.F) {
	for _, m := range append(slices.Clone(protocol.FromAgent), protocol.FromCore...) {
		frame, err := protocol.Encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
	}
	f.Add([]byte(`{"type":"results","stream":"s","seq":9223372036854775807,"sent_at":"2026-03-01T12:00:00Z","items":[{"capability":"probe","assignment":"b","payload":1}]}`))
	f.Add([]byte(`{"type":"results","stream":"s","seq":1,"sent_at":"0001-01-01T00:00:00Z","items":[{}]}`))
	f.Add([]byte(`{"type":"secrets_request","capability":"probe","assignment":"b","collector":"http"}`))
	f.Fuzz(func(t *testing.T, frame []byte) {
		w := working(t, dbtest.SQLite(t))
		_, s := w.online("edge-1")
		other, healthy := w.online("edge-2")
		secretive := probe("b")
		secretive.Secrets = map[string]map[string]string{"http": {"TOKEN": "DB_PASSWORD"}}
		must(t, w.assign(other, secretive))
		w.plugin.Take(t.Context(), s, frame)
		for _, m := range s.Told() {
			text, err := protocol.Encode(m)
			must(t, err)
			if strings.Contains(string(text), "hunter2") {
				t.Errorf("told %s", text)
			}
		}
		w.wantTaken()
		wantTold(t, w.report(healthy, "s", 1, w.item("b", 1)), protocol.ResultsAck{Stream: "s", Seq: 1})
		w.wantTaken(w.line("edge-2", "b", w.Now(), 1))
	})
}

// dialled is a connection to the core over a real socket.
func (w *worker) dialled() *websocket.Conn {
	w.t.Helper()
	server := httptest.NewServer(w.api)
	w.t.Cleanup(server.Close)
	conn, _, err := websocket.Dial(w.t.Context(), server.URL+protocol.Path, nil)
	must(w.t, err)

	return conn
}

// A plugin that panics over what an agent asks for ends neither the core nor the
// session.
func TestAPanicEndsNothing(t *testing.T) {
	w := working(t, dbtest.SQLite(t))
	k, s := w.online("edge-1")
	must(t, w.db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		return w.prober.remote.SetBundle(ctx, tx, k.id, brokenHash)
	}))
	w.send(s, protocol.BundleRequest{Hash: brokenHash})
	if got := w.counted("flightrules_satellite_edge_failures_total"); got != 1 {
		t.Errorf("%v failures counted, want 1", got)
	}
	wantTold(t, w.send(s, protocol.BundleRequest{Hash: bundleHash}),
		protocol.BundleManifest{Hash: bundleHash, Error: &protocol.Error{Code: protocol.CodeNotThisBundle, Message: "this satellite is to have another bundle"}})
}

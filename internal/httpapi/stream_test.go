package httpapi_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/dbtest"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/plugins"
)

// streamed is a message of a stream.
type streamed struct{ name, id, data string }

// listener reads a stream.
type listener struct {
	t     *testing.T
	close func()
	list  chan streamed // closed at its end
}

func (f *fixture) listen(server *httptest.Server, query, last string) *listener {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/api/v1/stream"+query, nil)
	f.no(err)
	req.Header.Set("Authorization", "Bearer "+f.tokens[plugins.Viewer])
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := server.Client().Do(req)
	f.no(err)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		f.t.Fatalf("status %d, %q", res.StatusCode, res.Header.Get("Content-Type"))
	}
	l := &listener{t: f.t, close: cancel, list: make(chan streamed, 10_000)}
	go func() {
		defer close(l.list)
		defer func() { _ = res.Body.Close() }()
		var m streamed
		lines := bufio.NewScanner(res.Body)
		for lines.Buffer(nil, 1<<20); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				m.name = value
			case "id":
				m.id = value
			case "data":
				m.data = value
			case "":
				if m.name != "" {
					l.list <- m
				}
				m = streamed{}
			}
		}
	}()
	return l
}

// next is the next message.
func (l *listener) next() streamed {
	l.t.Helper()
	select {
	case m, ok := <-l.list:
		if !ok {
			l.t.Fatal("the stream has ended")
		}
		return m
	case <-time.After(20 * time.Second):
		l.t.Fatal("nothing came")
	}
	return streamed{}
}

// quiet says that nothing comes.
func (l *listener) quiet() {
	l.t.Helper()
	select {
	case m := <-l.list:
		l.t.Errorf("%+v came", m)
	case <-time.After(400 * time.Millisecond):
	}
}

func (f *fixture) serve() *httptest.Server {
	server := httptest.NewUnstartedServer(f.handler)
	server.Config.RegisterOnShutdown(func() {})
	server.Start()
	f.t.Cleanup(server.CloseClientConnections)
	return server
}

func (f *fixture) planet(id, status string) {
	f.t.Helper()
	f.as(plugins.Operator, "PUT", "/api/v1/entities/planet/"+id, `{"status":"`+status+`"}`)
}

func TestStream(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		server := f.serve()
		f.planet("before", "unknown")

		t.Run("what happens from now on comes, each as lists show it", func(t *testing.T) {
			l := f.listen(server, "", "")
			defer l.close()
			if m := l.next(); m.name != "ready" || m.id == "" {
				t.Fatalf("first %+v", m)
			}
			f.planet("mars", "unknown")
			m := l.next()
			var list struct{ Items []json.RawMessage }
			f.as(plugins.Viewer, "GET", "/api/v1/transitions?limit=1", "").into(&list)
			if m.name != "transition" || m.data != string(list.Items[0]) {
				t.Errorf("%+v, want %s", m, list.Items[0])
			}
			f.as(plugins.Operator, "POST", "/api/v1/events", `{"name":"custom.deployed"}`).want(201)
			if m := l.next(); m.name != "event" || !strings.Contains(m.data, `"custom.deployed"`) {
				t.Errorf("%+v", m)
			}
			f.insert(&journal.Decision{Seq: 1, Rule: "off", Version: "1", Trigger: "1", EventID: "e9", Outcome: journal.Started, RunID: "r9", At: db.At(start)},
				&journal.Run{ID: "r9", Rule: "off", Version: "1", Trigger: "1", EventID: "e9", Status: journal.RunQueued, Attempt: 1, CreatedAt: db.At(start)})
			f.db.Hint(journal.Topic)
			if m := l.next(); m.name != "decision" || !strings.Contains(m.data, `"run_id":"r9"`) {
				t.Errorf("%+v", m)
			}
			if m := l.next(); m.name != "run" || !strings.HasSuffix(m.data, `"run_id":"r9","rule":"off","status":"queued"}`) {
				t.Errorf("%+v", m)
			}
			f.setRun("r9", journal.RunRunning)
			if m := l.next(); m.name != "run" || !strings.HasSuffix(m.data, `"status":"running"}`) {
				t.Errorf("%+v", m)
			}
			f.setRun("r9", journal.RunRunning)
			l.quiet()
		})

		t.Run("it can be narrowed", func(t *testing.T) {
			l := f.listen(server, "?topics=transition,run&kind=planet&id=venus&rule=off", "")
			defer l.close()
			l.next()
			f.planet("earth", "unknown")
			f.as(plugins.Operator, "POST", "/api/v1/events", `{"name":"custom.deployed"}`).want(201)
			f.planet("venus", "unknown")
			f.setRun("r9", journal.RunWaiting)
			got := []string{l.next().name, l.next().name}
			slices.Sort(got)
			if diff := cmp.Diff([]string{"run", "transition"}, got); diff != "" {
				t.Error(diff)
			}
			l.quiet()
		})

		t.Run("who comes back misses nothing and sees nothing twice", func(t *testing.T) {
			l := f.listen(server, "?topics=transition", "")
			last := l.next().id
			l.close()
			const n = 1300 // more than a page of the log
			for i := range n {
				f.planet(fmt.Sprintf("p%d", i), "unknown")
			}
			var got []string
			for len(got) < n {
				l := f.listen(server, "?topics=transition", last)
				if m := l.next(); m.name != "ready" || m.id != last {
					t.Fatalf("%+v, want to go on at %s", m, last)
				}
				for range min(170, n-len(got)) {
					m := l.next()
					var shown struct {
						ID string `json:"entity_id"`
					}
					f.no(json.Unmarshal([]byte(m.data), &shown))
					got, last = append(got, shown.ID), m.id
				}
				l.close()
			}
			for i, id := range got {
				if id != fmt.Sprintf("p%d", i) {
					t.Fatalf("message %d is about %s", i, id)
				}
			}
			l = f.listen(server, "?topics=transition", last)
			defer l.close()
			l.next()
			l.quiet()
		})

		t.Run("an id that is none is refused", func(t *testing.T) {
			for _, id := range []string{"x", "1.2.3", "1.2.3.-4", "1.2.3.4.5"} {
				f.as(plugins.Viewer, "GET", "/api/v1/stream", "", "Last-Event-ID", id).problem(422, "invalid_cursor")
			}
		})
		t.Run("an id from another database begins at the end", func(t *testing.T) {
			l := f.listen(server, "", "999999999.999999999.999999999.999999999")
			defer l.close()
			l.next()
			f.planet("late", "unknown")
			if m := l.next(); !strings.Contains(m.data, `"late"`) {
				t.Errorf("%+v", m)
			}
		})
	})
}

// setRun has the status of a run be what it is said to be.
func (f *fixture) setRun(id string, status journal.RunStatus) {
	f.t.Helper()
	f.no(f.db.Write(f.t.Context(), func(ctx context.Context, tx bun.Tx) error {
		_, err := tx.NewUpdate().Model((*journal.Run)(nil)).Set("status = ?", status).Where("id = ?", id).Exec(ctx)
		return err
	}))
	f.db.Hint(journal.Topic)
}

// TestStreamWaitsForWhatIsCommittedLate has a transaction take a number and
// commit after a later one.
func TestStreamWaitsForWhatIsCommittedLate(t *testing.T) {
	f := newFixture(t, dbtest.Postgres(t))
	server := f.serve()
	l := f.listen(server, "?topics=event", "")
	defer l.close()
	l.next()
	event := func(seq int64) *journal.Event {
		return &journal.Event{Seq: seq, ID: fmt.Sprint(seq), Name: "custom.x", Actor: "system", At: db.At(start)}
	}
	f.insert(event(1))
	l.next()
	var ahead *listener
	err := f.db.Write(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		if _, err := tx.NewInsert().Model(event(2)).Exec(ctx); err != nil {
			return err
		}
		other, err := db.Open(ctx, f.url, db.Options{})
		if err != nil {
			return err
		}
		defer func() { _ = other.Close() }()
		for seq := range int64(3) {
			if err := other.Write(context.Background(), func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.NewInsert().Model(event(3 + 2*seq)).Exec(ctx) // with gaps that nobody will fill
				return err
			}); err != nil {
				return err
			}
		}
		// Somebody comes from another node, which has told them all of it already.
		ahead = f.listen(server, "?topics=event", "0.7.0.0")
		if m := ahead.next(); m.id != "0.7.0.0" {
			return fmt.Errorf("who has seen more goes on at %s", m.id)
		}
		time.Sleep(1500 * time.Millisecond) // that nothing comes can only be waited for: it is longer than a follower waits for numbers that nobody brings
		select {
		case m := <-l.list:
			return fmt.Errorf("%+v came while what is before it was not there", m)
		default:
			return nil
		}
	})
	f.no(err)
	var got []string
	for range 4 {
		var shown struct{ ID string }
		f.no(json.Unmarshal([]byte(l.next().data), &shown))
		got = append(got, shown.ID)
	}
	if diff := cmp.Diff([]string{"2", "3", "5", "7"}, got); diff != "" {
		t.Error(diff)
	}
	defer ahead.close()
	f.insert(event(8))
	if m := ahead.next(); !strings.Contains(m.data, `"id":"8"`) {
		t.Errorf("%+v came, which was seen before", m)
	}
}

// TestAStuckReader has a reader take nothing. The others go on, it is cut off, and
// it gets the rest when it comes back.
func TestAStuckReader(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	f.server.SetPatience(500 * time.Millisecond)
	server := f.serve()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	f.no(err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", f.tokens[plugins.Viewer])
	f.no(err)

	good := f.listen(server, "?topics=event", "")
	defer good.close()
	ready := good.next()
	payload := strings.Repeat("x", 100_000)
	const n, together = 200, 20 // 20 MB: more than buffers and the ring hold
	for i := range n {
		f.as(plugins.Operator, "POST", "/api/v1/events", fmt.Sprintf(`{"id":"big-%d","name":"custom.big","payload":{"text":%q}}`, i, payload)).want(201)
		if i%together < together-1 {
			continue
		}
		for j := i + 1 - together; j <= i; j++ {
			if m := good.next(); !strings.Contains(m.data, fmt.Sprintf(`"big-%d"`, j)) {
				t.Fatalf("message %d is %.100s", j, m.data)
			}
		}
	}
	for range 200 {
		if f.server.Readers() == 1 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if n := f.server.Readers(); n != 1 {
		t.Errorf("%d streams go on, and one of them takes nothing", n)
	}
	again := f.listen(server, "?topics=event", ready.id)
	defer again.close()
	again.next()
	for i := range n {
		if m := again.next(); !strings.Contains(m.data, fmt.Sprintf(`"big-%d"`, i)) {
			t.Fatalf("message %d is %.100s", i, m.data)
		}
	}
}

// TestAStreamEndsWithItsToken has a token revoked, and a session end, while
// somebody reads by it.
func TestAStreamEndsWithItsToken(t *testing.T) {
	f := newFixture(t, dbtest.SQLite(t))
	f.server.SetPing(50 * time.Millisecond)
	server := f.serve()
	plain, token, err := f.server.Tokens().Create(t.Context(), "ann", plugins.Viewer, time.Time{})
	f.no(err)
	session, _, err := f.server.SignIn(t.Context(), f.tokens[plugins.Operator], "192.0.2.1:1")
	f.no(err)
	read := func(header, value string) (ended <-chan struct{}) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/api/v1/stream", nil)
		f.no(err)
		req.Header.Set(header, value)
		res, err := server.Client().Do(req)
		f.no(err)
		if res.StatusCode != 200 {
			t.Fatalf("status %d", res.StatusCode)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(io.Discard, res.Body) // how it ends is not told
			_ = res.Body.Close()
		}()
		return done
	}
	byToken, bySession := read("Authorization", "Bearer "+plain), read("Cookie", httpapi.SessionCookie+"="+session)
	select {
	case <-byToken:
		t.Error("the stream has ended before its token")
	case <-bySession:
		t.Error("the stream has ended before its session")
	case <-time.After(300 * time.Millisecond): // several times as long as it is looked again
	}
	f.no(f.server.Tokens().Revoke(t.Context(), token.ID))
	f.no(f.server.Tokens().EndSession(t.Context(), session))
	for what, ended := range map[string]<-chan struct{}{"token": byToken, "session": bySession} {
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Errorf("the stream goes on without its %s", what)
		}
	}
}

func TestExport(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		const n = 2100 // more than two pages
		for i := range n / 2 {
			f.planet(fmt.Sprintf("p%d", i), "unknown")
			f.planet(fmt.Sprintf("p%d", i), "charted")
		}
		f.planet("=cmd()", "unknown")

		t.Run("NDJSON has what the list has", func(t *testing.T) {
			a := f.as(plugins.Viewer, "GET", "/api/v1/transitions/export?kind=planet", "").want(200)
			lines := strings.Split(strings.TrimSpace(a.Body.String()), "\n")
			if len(lines) != n+1 || a.Header().Get("Content-Type") != "application/x-ndjson" || !strings.Contains(a.Header().Get("Content-Disposition"), "transitions.ndjson") {
				t.Errorf("%d lines, %v", len(lines), a.Header())
			}
			var list struct{ Items []json.RawMessage }
			f.as(plugins.Viewer, "GET", "/api/v1/transitions?limit=1000", "").into(&list)
			for i, item := range list.Items {
				if string(item) != lines[i] {
					t.Fatalf("line %d: %s, want %s", i, lines[i], item)
				}
			}
		})
		t.Run("CSV has one line for each, and no formula", func(t *testing.T) {
			a := f.as(plugins.Viewer, "GET", "/api/v1/transitions/export?format=csv&limit=1500", "").want(200)
			rows, err := csv.NewReader(a.Body).ReadAll()
			f.no(err)
			if len(rows) != 1501 || rows[0][0] != "seq" || rows[1][3] != "'=cmd()" || rows[1][5] != `{"status":[null,"unknown"]}` {
				t.Errorf("%d rows, %v", len(rows), rows[:2])
			}
		})
		t.Run("it can be narrowed", func(t *testing.T) {
			a := f.as(plugins.Viewer, "GET", "/api/v1/transitions/export?kind=planet&id=p7&format=csv", "").want(200)
			if rows, err := csv.NewReader(a.Body).ReadAll(); err != nil || len(rows) != 3 {
				t.Errorf("%v, %v", rows, err)
			}
		})
		t.Run("nothing is a head alone", func(t *testing.T) {
			a := f.as(plugins.Viewer, "GET", "/api/v1/transitions/export?kind=none&format=csv", "").want(200)
			if rows, err := csv.NewReader(a.Body).ReadAll(); err != nil || len(rows) != 1 {
				t.Errorf("%v, %v", rows, err)
			}
		})
	})
}

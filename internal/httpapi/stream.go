package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/flightrules/flightrules/engine/journal"
	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/follow"
	"github.com/flightrules/flightrules/plugins"
)

const (
	// maxReaders bounds how many streams a node has open.
	maxReaders = 500
	// streamPatience is how long a reader may take for what is sent at once.
	streamPatience = 10 * time.Second
	// streamPing is how often a quiet stream says that it is there, and how often
	// it is looked whether who reads it still may.
	streamPing = 15 * time.Second
)

type getStream struct {
	Topics []string `query:"topics" enum:"transition,event,decision,run" doc:"Only these; all, unless given."`
	Kind   string   `query:"kind" maxLength:"200" doc:"Only transitions and events about entities of that kind."`
	ID     string   `query:"id" maxLength:"500" doc:"Only transitions and events about the entity with that id."`
	Rule   string   `query:"rule" maxLength:"200" doc:"Only decisions and runs of that rule."`
	Last   string   `header:"Last-Event-ID" maxLength:"100" doc:"The id that came last: the stream goes on after it, from the log."`
	After  string   `query:"after" maxLength:"100" doc:"The same, for those who cannot set a header."`
}

func (in *getStream) wants(m follow.Message) bool {
	switch {
	case len(in.Topics) > 0 && !slices.Contains(in.Topics, m.Topic.String()):
		return false
	case m.Topic == follow.Transitions || m.Topic == follow.Events:
		return (in.Kind == "" || in.Kind == m.Kind) && (in.ID == "" || in.ID == m.ID)
	}
	return in.Rule == "" || in.Rule == m.Rule
}

// runChange is a status that a run has taken.
type runChange struct {
	Seq    int64             `json:"seq"`
	RunID  string            `json:"run_id"`
	Rule   string            `json:"rule"`
	Status journal.RunStatus `json:"status"`
}

// encode shows an entry of a log as the lists do.
func encode(entry any) ([]byte, error) {
	switch e := entry.(type) {
	case entities.Transition:
		return json.Marshal(showTransition(e))
	case journal.Event:
		return json.Marshal(showEvent(e))
	case journal.Decision:
		return json.Marshal(showDecision(e))
	case journal.RunChange:
		return json.Marshal(runChange{Seq: e.Seq, RunID: e.RunID, Rule: e.Rule, Status: e.Status})
	}
	return nil, fmt.Errorf("there is no log of %T", entry)
}

func (s *Server) streamOperations() {
	op := unhurried(operation("stream", http.MethodGet, "/api/v1/stream", plugins.Viewer, "What happens from now on, or from where a stream broke off, as server-sent events"))
	op.Description = "Each message has the name of its topic, the JSON of an item of the list of the same name as its data, and an id to resume by. " +
		"A run's data is `{seq, run_id, rule, status}`. The first message is `ready`: what happens after it is in the stream. " +
		"A reader that is too slow is cut off, and misses nothing when it comes back with the id."
	op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{"text/event-stream": {}}}}
	huma.Register(s.api, op, func(ctx context.Context, in *getStream) (*huma.StreamResponse, error) {
		in.Last = cmp.Or(in.Last, in.After)
		var from *follow.Place
		if in.Last != "" {
			p, err := follow.Parse(in.Last)
			if err != nil {
				return nil, newProblem(http.StatusUnprocessableEntity, "invalid_cursor", "validation failed", Detail{Location: "header.Last-Event-ID", Message: err.Error()})
			}
			from = &p
		}
		select {
		case s.readers <- struct{}{}:
		default:
			return nil, newProblem(http.StatusServiceUnavailable, "", "this node has as many streams as it can: try again later").with("Retry-After", "5")
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			defer func() { <-s.readers }()
			s.stream(ctx, in, from)
		}}, nil
	})
}

// reader is one stream.
type reader struct {
	in       *getStream
	w        http.ResponseWriter
	patience time.Duration
	ping     time.Duration
	at       follow.Place // of what was sent, or passed over
	sent     follow.Place // of the id that the client knows
}

// stream goes on until the client goes, is too slow or may not any more, or the
// engine stops.
func (s *Server) stream(hctx huma.Context, in *getStream, from *follow.Place) {
	w, ok := hctx.BodyWriter().(http.ResponseWriter)
	if !ok {
		return
	}
	ctx := hctx.Context()
	hctx.SetHeader("Content-Type", "text/event-stream")
	hctx.SetHeader("Cache-Control", "no-store")
	hctx.SetHeader("X-Accel-Buffering", "no") // of a proxy
	r := &reader{in: in, w: w, patience: s.patience, ping: s.ping}
	defer func() { _ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) }() // the connection may serve others
	if r.write([]byte(": flightrules\n\n")) != nil {
		return
	}
	defer s.follow.Join()()
	v := s.follow.After(-1)
	for ; !v.Ready; v = s.follow.After(-1) {
		if v.Ended || !r.wait(ctx, v.News) {
			return
		}
	}
	r.at = v.Reached
	if from != nil {
		var err error
		if r.at, err = s.follow.Resume(ctx, *from, v.Reached); err != nil {
			return // it comes back
		}
	}
	if r.write([]byte("event: ready\nid: "+r.at.String()+"\ndata: {}\n\n")) != nil {
		return
	}
	r.sent = r.at
	index := v.Next
	for admitted := time.Now(); ; {
		if time.Since(admitted) >= s.ping {
			if !s.still(ctx) {
				return
			}
			admitted = time.Now()
		}
		if err := s.catchUp(ctx, r, v.Reached); err != nil {
			return
		}
		v = s.follow.After(index)
		if v.Ended || !v.Ready || v.Behind {
			return // it comes back, and goes on from the log
		}
		if err := r.send(v.List); err != nil {
			return
		}
		if index = v.Next; len(v.List) == 0 && !r.wait(ctx, v.News) {
			return
		}
	}
}

// catchUp sends what the log has up to a place.
func (s *Server) catchUp(ctx context.Context, r *reader, until follow.Place) error {
	for {
		list, err := s.follow.Between(ctx, r.at, until)
		if err != nil || len(list) == 0 {
			return err
		}
		if err := r.send(list); err != nil {
			return err
		}
	}
}

// send sends those of the messages that are wanted and new.
func (r *reader) send(list []follow.Message) error {
	var out bytes.Buffer
	for _, m := range list {
		if m.Seq <= r.at[m.Topic] {
			continue
		}
		if r.at[m.Topic] = m.Seq; !r.in.wants(m) {
			continue
		}
		r.sent = r.at
		fmt.Fprintf(&out, "event: %s\nid: %s\ndata: %s\n\n", m.Topic, r.at, m.Data)
	}
	if out.Len() == 0 {
		return nil
	}
	return r.write(out.Bytes())
}

// wait waits for news, and says now and then that the stream is there and how far
// it is. false: the client has gone.
func (r *reader) wait(ctx context.Context, news <-chan struct{}) bool {
	ping := time.NewTimer(r.ping)
	defer ping.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-news:
		return true
	case <-ping.C:
	}
	text := ": still here\n\n"
	if r.sent != r.at {
		r.sent, text = r.at, "id: "+r.at.String()+"\n\n"
	}
	return r.write([]byte(text)) == nil
}

// write gives up on a client that takes nothing.
func (r *reader) write(text []byte) error {
	control := http.NewResponseController(r.w)
	_ = control.SetWriteDeadline(time.Now().Add(r.patience)) // a recorder of tests knows none
	if _, err := r.w.Write(text); err != nil {
		return err
	}
	return control.Flush()
}

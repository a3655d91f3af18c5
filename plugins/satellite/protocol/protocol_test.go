package protocol_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flightrules/flightrules/plugins/satellite/protocol"
)

func TestMessages(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for want, m := range map[string]protocol.Message{
		`{"type":"authenticate","client_id":"c","token":"t","protocol":1,"version":"v","capabilities":["a"]}`: protocol.Authenticate{
			ClientID: "c", Token: "t", Protocol: 1, Version: "v", Capabilities: []string{"a"}},
		`{"type":"heartbeat","sent_at":"2026-03-01T12:00:00Z","uptime":"1m30s","buffered":2}`: protocol.Heartbeat{
			SentAt: at, Uptime: protocol.Duration(90 * time.Second), Buffered: 2},
		`{"type":"authenticated","satellite_id":"i","session":"s","protocol":1,"heartbeat_interval":"15s"}`: protocol.Authenticated{
			SatelliteID: "i", Session: "s", Protocol: 1, HeartbeatInterval: protocol.Duration(15 * time.Second)},
		`{"type":"auth_failed","reason":"r"}`:                   protocol.AuthFailed{Reason: "r"},
		`{"type":"heartbeat_ack","now":"2026-03-01T12:00:00Z"}`: protocol.HeartbeatAck{Now: at},
		`{"type":"shutdown","reason":"r"}`:                      protocol.Shutdown{Reason: "r"},
		`{"type":"error","code":"malformed","message":"m"}`:     protocol.Error{Code: protocol.CodeMalformed, Message: "m"},
	} {
		t.Run(m.Type(), func(t *testing.T) {
			frame, err := protocol.Encode(m)
			if err != nil || string(frame) != want {
				t.Fatalf("got %s, %v\nwant %s", frame, err, want)
			}
			got, err := protocol.Decode(frame)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	t.Run("unknown fields are ignored", func(t *testing.T) {
		got, err := protocol.Decode([]byte(`{"later": {"a": 1}, "type": "shutdown", "reason": "r"}`))
		if err != nil || got != (protocol.Shutdown{Reason: "r"}) {
			t.Errorf("got %v, %v", got, err)
		}
	})
	for text, want := range map[string]error{
		`{"type":"later"}`:                  protocol.ErrUnknownType,
		`{"reason":"r"}`:                    protocol.ErrMalformed,
		`{"type":"shutdown","reason":1}`:    protocol.ErrMalformed,
		`{"type":"heartbeat","uptime":"x"}`: protocol.ErrMalformed,
		`[]`:                                protocol.ErrMalformed,
		`{`:                                 protocol.ErrMalformed,
		``:                                  protocol.ErrMalformed,
	} {
		t.Run("refuses "+text, func(t *testing.T) {
			if got, err := protocol.Decode([]byte(text)); !errors.Is(err, want) {
				t.Errorf("got %v, %v; want %v", got, err, want)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"type":"heartbeat","sent_at":"2026-03-01T12:00:00Z","uptime":"1m30s","buffered":2}`))
	f.Add([]byte(`{"type":"authenticate","capabilities":["a"]}`))
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := protocol.Decode(frame)
		if err != nil {
			return
		}
		again, err := protocol.Encode(m)
		if err != nil {
			return // a time that JSON cannot hold
		}
		if _, err := protocol.Decode(again); err != nil {
			t.Errorf("%s became %s: %v", frame, again, err)
		}
	})
}

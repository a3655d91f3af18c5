// Package protocol is the language of satellites and core on their WebSocket:
// one JSON object with a "type" in each text frame.
//
// Fields that a side does not know are ignored, and a type that it does not
// know is answered with an Error and changes nothing, so that old and new get
// along. The first frame of an agent is Authenticate; the core answers it with
// Authenticated or AuthFailed.
package protocol

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// Version is the version of the protocol that this package speaks. Each
	// side tells its own; a later one only adds.
	Version = 1
	// Path is where the core takes the connections of agents.
	Path = "/api/v1/satellites/connect"
	// MaxFrame bounds a frame, in bytes. A longer one ends the connection.
	MaxFrame = 1 << 20
)

var (
	// ErrMalformed is returned for a frame that is no JSON object with a type,
	// or whose fields are not of their types.
	ErrMalformed = errors.New("malformed message")
	// ErrUnknownType is returned for a message of a type that is not known.
	ErrUnknownType = errors.New("unknown type of message")
)

// Message is one of the messages below.
type Message interface {
	// Type is the "type" of the message on the wire.
	Type() string
}

// Authenticate is an agent's first message.
type Authenticate struct {
	ClientID     string   `json:"client_id" doc:"The id of the satellite, or its name."`
	Token        string   `json:"token"`
	Protocol     int      `json:"protocol"`
	Version      string   `json:"version" doc:"Of the agent."`
	Capabilities []string `json:"capabilities"`
}

// Heartbeat is an agent's sign of life.
type Heartbeat struct {
	SentAt   time.Time `json:"sent_at" doc:"By the agent's clock."`
	Uptime   Duration  `json:"uptime" doc:"Of the agent."`
	Buffered int       `json:"buffered" doc:"How many results wait to be sent."`
}

// Authenticated is the core's answer to an agent that is let in.
type Authenticated struct {
	SatelliteID       string   `json:"satellite_id"`
	Session           string   `json:"session"`
	Protocol          int      `json:"protocol"`
	HeartbeatInterval Duration `json:"heartbeat_interval"`
	// Assignments are what the satellite is to do from now on; absent: the core
	// does not say, and all stays.
	Assignments *Assignments `json:"assignments,omitempty"`
	Bundle      *Bundle      `json:"bundle,omitempty" doc:"Likewise."`
}

// AuthFailed is the core's last message to an agent that it does not let in, or
// no longer. Trying again with the same token is of no use.
type AuthFailed struct {
	Reason string `json:"reason"`
}

// HeartbeatAck says that a heartbeat is in the database. It is also sent
// unasked, without SentAt, when the interval changes.
type HeartbeatAck struct {
	SentAt            time.Time `json:"sent_at,omitzero" doc:"As the heartbeat had it."`
	Now               time.Time `json:"now" doc:"By the core's clock."`
	HeartbeatInterval Duration  `json:"heartbeat_interval,omitzero"`
}

// Shutdown says that the core closes the connection for a reason that is not
// the agent's. The agent connects again.
type Shutdown struct {
	Reason string `json:"reason"`
}

// Error says that a message was not understood or not accepted. Unless the
// connection is closed after it, all goes on.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// The codes of Error.
const (
	CodeMalformed    = "malformed"    // see ErrMalformed
	CodeUnknownType  = "unknown_type" // see ErrUnknownType
	CodeUnexpected   = "unexpected"   // a message that is known, but not now
	CodeRateLimited  = "rate_limited" // too many failures; try again later
	CodeUnavailable  = "unavailable"  // the core cannot do it for now; try again
	CodeSuperseded   = "superseded"   // the satellite has connected anew
	CodeSlowConsumer = "slow_consumer"
)

// Encode makes the frame of a message.
func Encode(m Message) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.Type(), err)
	}
	head := []byte(`{"type":"` + m.Type() + `"`)
	if !bytes.Equal(body, []byte("{}")) {
		head = append(head, ',')
	}
	return append(head, body[1:]...), nil
}

// Decode reads a frame. The error is ErrMalformed or ErrUnknownType.
func Decode(frame []byte) (Message, error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(frame, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if head.Type == "" {
		return nil, fmt.Errorf("%w: it has no type", ErrMalformed)
	}
	read, ok := readers[head.Type]
	if !ok {
		return nil, fmt.Errorf("%w: %.50q", ErrUnknownType, head.Type)
	}
	return read(frame)
}

func decode[M Message](frame []byte) (Message, error) {
	var m M
	if err := json.Unmarshal(frame, &m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, m.Type(), err)
	}
	return m, nil
}

// Duration is a duration that is text in JSON, such as "15s" or "1m30s": what
// time.ParseDuration reads.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

package web

import (
	"encoding/json"
	"time"

	"github.com/flightrules/flightrules/internal/httpapi"
)

// What the API answers, as far as pages show it.

type list[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

// after is where a list goes on; "": nowhere.
func (l list[T]) after() string {
	if l.Next == nil {
		return ""
	}
	return *l.Next
}

type transition struct {
	Seq      int64             `json:"seq"`
	Kind     string            `json:"kind"`
	EntityID string            `json:"entity_id"`
	Version  int64             `json:"version"`
	At       time.Time         `json:"at"`
	Changes  map[string][2]any `json:"changes"`
	Removed  bool              `json:"removed"`
	Actor    string            `json:"actor"`
	RunID    *string           `json:"run_id"`
}

type entity struct {
	Kind      string               `json:"kind"`
	ID        string               `json:"id"`
	Version   int64                `json:"version"`
	State     map[string]any       `json:"state"`
	Since     map[string]time.Time `json:"since"`
	UpdatedAt time.Time            `json:"updated_at"`
}

// Name is what people call the entity.
func (e entity) Name() string {
	if name, _ := e.State["name"].(string); name != "" {
		return name
	}
	return e.ID
}

type event struct {
	ID     string    `json:"id"`
	Seq    int64     `json:"seq"`
	Name   string    `json:"name"`
	At     time.Time `json:"at"`
	Entity *struct {
		Kind string `json:"kind"`
		ID   string `json:"id"`
	} `json:"entity"`
	Payload       json.RawMessage `json:"payload"`
	TransitionSeq *int64          `json:"transition_seq"`
	Actor         string          `json:"actor"`
	RunID         *string         `json:"run_id"`
	Depth         int             `json:"depth"`
}

type decision struct {
	Seq     int64     `json:"seq"`
	Rule    string    `json:"rule"`
	Trigger string    `json:"trigger"`
	EventID string    `json:"event_id"`
	Key     string    `json:"key"`
	Outcome string    `json:"outcome"`
	Detail  string    `json:"detail"`
	RunID   *string   `json:"run_id"`
	At      time.Time `json:"at"`
}

type step struct {
	Path       string          `json:"path"`
	ID         *string         `json:"id"`
	Action     string          `json:"action"`
	Status     string          `json:"status"`
	Attempt    int             `json:"attempt"`
	Failures   int             `json:"failures"`
	Iteration  []string        `json:"iteration"`
	Parent     *int            `json:"parent"`
	StartedAt  time.Time       `json:"started_at"`
	FinishedAt *time.Time      `json:"finished_at"`
	DueAt      *time.Time      `json:"due_at"`
	Input      json.RawMessage `json:"input"`
	Output     json.RawMessage `json:"output"`
	Truncated  bool            `json:"truncated"`
	Error      *string         `json:"error"`
}

type run struct {
	httpapi.Run

	Steps []step `json:"steps"`
}

type rule struct {
	httpapi.Rule

	Source string `json:"source"`
}

type kind struct {
	Name   string         `json:"name"`
	Doc    string         `json:"doc"`
	Kept   bool           `json:"kept"`
	State  map[string]any `json:"state"`
	Events []string       `json:"events"`
}

type problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

type silence struct {
	ID        string     `json:"id"`
	Match     string     `json:"match"`
	Start     time.Time  `json:"start"`
	End       time.Time  `json:"end"`
	Reason    string     `json:"reason"`
	Author    string     `json:"author"`
	File      bool       `json:"file"`
	CreatedAt time.Time  `json:"created_at"`
	EndedAt   *time.Time `json:"ended_at"`
}

type token struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
	LastUsed  *time.Time `json:"last_used"`
	Token     string     `json:"token"`
}

type explanation struct {
	Rule     string       `json:"rule"`
	Event    event        `json:"event"`
	Triggers []considered `json:"triggers"`
	Decided  []decision   `json:"decisions"`
}

type considered struct {
	ID         string      `json:"id"`
	Summary    string      `json:"summary"`
	Matched    bool        `json:"matched"`
	Gate       string      `json:"gate"`
	Detail     string      `json:"detail"`
	Where      *evaluated  `json:"where"`
	Conditions []evaluated `json:"conditions"`
}

type evaluated struct {
	Text  string    `json:"text"`
	Value any       `json:"value"`
	Error string    `json:"error"`
	Parts []operand `json:"parts"`
}

type operand struct {
	Text  string `json:"text"`
	Value any    `json:"value"`
	Error string `json:"error"`
}

type satellite struct {
	ID               string            `json:"id"`
	Name             string            `json:"name"`
	Region           string            `json:"region"`
	Tags             map[string]string `json:"tags"`
	Status           string            `json:"status"`
	LastEvent        *string           `json:"last_event"`
	LastSeenAt       *time.Time        `json:"last_seen_at"`
	OfflineThreshold string            `json:"offline_threshold"`
	Version          string            `json:"version"`
	CreatedAt        time.Time         `json:"created_at"`
	Source           string            `json:"source"`
	Results          struct {
		Buffered int64 `json:"buffered"`
		Refused  int64 `json:"refused"`
	} `json:"results"`
	Files *struct {
		Status string `json:"status"`
		Error  string `json:"error"`
	} `json:"files"`
}

type region struct {
	Name     string           `json:"name"`
	Statuses map[string]int64 `json:"statuses"`
}

type checkItem struct {
	ID        string         `json:"id"`
	Source    string         `json:"source"`
	Settings  map[string]any `json:"settings"`
	State     map[string]any `json:"state"`
	Observers []struct {
		ID        string     `json:"id"`
		Name      string     `json:"name"`
		Region    string     `json:"region"`
		Observing bool       `json:"observing"`
		Status    string     `json:"status"`
		Flapping  bool       `json:"flapping"`
		LatencyMS float64    `json:"latency_ms"`
		Message   string     `json:"message"`
		ResultAt  *time.Time `json:"result_at"`
	} `json:"observers"`
	UpdatedAt time.Time `json:"updated_at"`
}

type checkResult struct {
	At        time.Time `json:"at"`
	Observer  string    `json:"observer"`
	Outcome   string    `json:"outcome"`
	LatencyMS float64   `json:"latency_ms"`
	Message   string    `json:"message"`
}

package client

import (
	"encoding/json"
	"time"
)

// What the API answers, as far as commands and pages show it. A test compares it
// with the OpenAPI document (internal/app/api_test.go).

// Transition is a change of an entity.
type Transition struct {
	Seq      int64             `json:"seq"`
	Kind     string            `json:"kind"`
	EntityID string            `json:"entity_id"`
	Version  int64             `json:"version"`
	At       time.Time         `json:"at"`
	Changes  map[string][2]any `json:"changes"` // by field: what it was, and what it became
	Removed  bool              `json:"removed"`
	Actor    string            `json:"actor"`
	RunID    string            `json:"run_id"` // "": no run made it
}

// Entity is an entity as it is, or was.
type Entity struct {
	Kind      string               `json:"kind"`
	ID        string               `json:"id"`
	Version   int64                `json:"version"`
	State     map[string]any       `json:"state"`
	Since     map[string]time.Time `json:"since"` // when each field took its value
	UpdatedAt time.Time            `json:"updated_at"`
}

// Name is what people call the entity.
func (e Entity) Name() string {
	if name, _ := e.State["name"].(string); name != "" {
		return name
	}
	return e.ID
}

// EntityRef names an entity.
type EntityRef struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// Event is something that happened.
type Event struct {
	ID            string          `json:"id"`
	Seq           int64           `json:"seq"`
	Name          string          `json:"name"`
	At            time.Time       `json:"at"`
	Entity        *EntityRef      `json:"entity"` // nil: it is about none
	Payload       json.RawMessage `json:"payload"`
	TransitionSeq int64           `json:"transition_seq"` // 0: it was derived from none
	Actor         string          `json:"actor"`
	RunID         string          `json:"run_id"` // "": no run emitted it
}

// Decision is what became of a match.
type Decision struct {
	Seq     int64     `json:"seq"`
	Rule    string    `json:"rule"`
	Trigger string    `json:"trigger"`
	EventID string    `json:"event_id"`
	Key     string    `json:"key"`
	Outcome string    `json:"outcome"`
	Detail  string    `json:"detail"`
	RunID   string    `json:"run_id"` // "": there is none
	At      time.Time `json:"at"`
}

// Run is a run, with its steps where it was asked for alone.
type Run struct {
	ID         string     `json:"id"`
	Rule       string     `json:"rule"`
	Version    string     `json:"version"`
	Status     string     `json:"status"`
	Key        string     `json:"key"`
	EventID    string     `json:"event_id"`
	Attempt    int        `json:"attempt"`
	Dead       bool       `json:"dead"`
	Recoveries int        `json:"recoveries"`
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	CancelAt   *time.Time `json:"cancel_requested_at"`
	Error      string     `json:"error"`
	Steps      []Step     `json:"steps"`
}

// RunChange is a status that a run has taken, as a stream tells it.
type RunChange struct {
	RunID  string `json:"run_id"`
	Rule   string `json:"rule"`
	Status string `json:"status"`
}

// Step is what a step of a run did.
type Step struct {
	Path       string          `json:"path"`
	ID         string          `json:"id"`
	Action     string          `json:"action"`
	Status     string          `json:"status"`
	Attempt    int             `json:"attempt"`
	Failures   int             `json:"failures"`
	Iteration  []string        `json:"iteration"`
	Parent     *int            `json:"parent"` // the index of the step that it stands below; nil: none
	StartedAt  time.Time       `json:"started_at"`
	FinishedAt *time.Time      `json:"finished_at"`
	DueAt      *time.Time      `json:"due_at"`
	Input      json.RawMessage `json:"input"`
	Output     json.RawMessage `json:"output"`
	Truncated  bool            `json:"truncated"`
	Error      string          `json:"error"`
}

// Rule is a rule in force, with its YAML where it was asked for alone.
type Rule struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Tags        []string  `json:"tags"`
	Enabled     bool      `json:"enabled"`
	Mode        string    `json:"mode"`
	File        string    `json:"file"`
	Line        int       `json:"line"`
	Triggers    []Trigger `json:"triggers"`
	Paused      *Paused   `json:"paused"` // nil: it is not
	Source      string    `json:"source"`
}

// State is active, off, paused or tripped.
func (r Rule) State() string {
	switch {
	case r.Paused != nil && r.Paused.Tripped:
		return "tripped"
	case r.Paused != nil:
		return "paused"
	case !r.Enabled:
		return "disabled"
	}
	return "active"
}

// Trigger is one of a rule's.
type Trigger struct {
	ID      string `json:"id"`
	Enabled bool   `json:"enabled"`
	Event   string `json:"event"`
	Summary string `json:"summary"`
}

// Paused says why a rule's matches are dropped.
type Paused struct {
	At      time.Time `json:"at"`
	By      string    `json:"by"`
	Reason  string    `json:"reason"`
	Tripped bool      `json:"tripped"`
}

// Activity is what a rule did in some time.
type Activity struct {
	Since    time.Time        `json:"since"`
	Until    time.Time        `json:"until"`
	Complete bool             `json:"complete"`
	Outcomes map[string]int   `json:"outcomes"`
	Slices   []map[string]int `json:"slices"`
	LastRun  *Run             `json:"last_run"`
	NextAt   *time.Time       `json:"next_at"`
}

// LoadProblem is a mistake in a file of rules.
type LoadProblem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// Explanation says what a rule made of an event, and why.
type Explanation struct {
	Rule      string       `json:"rule"`
	Event     Event        `json:"event"`
	Triggers  []Considered `json:"triggers"`
	Decisions []Decision   `json:"decisions"`
}

// Considered is what a trigger made of an event.
type Considered struct {
	ID         string      `json:"id"`
	Summary    string      `json:"summary"`
	Matched    bool        `json:"matched"`
	Gate       string      `json:"gate"` // what said no; "": nothing did
	Detail     string      `json:"detail"`
	Where      *Evaluated  `json:"where"`
	Conditions []Evaluated `json:"conditions"`
}

// Evaluated is an expression, with what it and its parts came to.
type Evaluated struct {
	Operand

	Parts []Operand `json:"parts"`
}

// Operand is a part of an expression.
type Operand struct {
	Text  string          `json:"text"`
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
}

// Kind is a kind of entities.
type Kind struct {
	Name   string         `json:"name"`
	Doc    string         `json:"doc"`
	Kept   bool           `json:"kept"`
	State  map[string]any `json:"state"` // a JSON Schema
	Events []string       `json:"events"`
}

// Overview is what there is, in numbers.
type Overview struct {
	Version string      `json:"version"`
	Kinds   []KindCount `json:"kinds"`
	Rules   RuleCount   `json:"rules"`
	Runs    RunCount    `json:"runs"`
	Ready   Readiness   `json:"ready"`
}

// KindCount counts the entities of a kind.
type KindCount struct {
	Name     string           `json:"name"`
	Count    int64            `json:"count"`
	Statuses map[string]int64 `json:"statuses"`
}

// RuleCount counts rules.
type RuleCount struct {
	Count    int `json:"count"`
	Enabled  int `json:"enabled"`
	Paused   int `json:"paused"`
	Problems int `json:"problems"`
}

// RunCount counts runs.
type RunCount struct {
	Queued  int64 `json:"queued"`
	Running int64 `json:"running"`
	Waiting int64 `json:"waiting"`
	Dead    int64 `json:"dead"`
}

// Active is how many are not over.
func (n RunCount) Active() int64 { return n.Queued + n.Running + n.Waiting }

// Readiness says whether the engine can do its work.
type Readiness struct {
	Status string       `json:"status"`
	Checks []ReadyCheck `json:"checks"`
}

// ReadyCheck is one thing that was looked at.
type ReadyCheck struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error"`
}

// Silence is a time in which matches do not run.
type Silence struct {
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

// Token is an API token; the token itself only when it was made.
type Token struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at"`
	LastUsed  *time.Time `json:"last_used"`
	Token     string     `json:"token"`
}

// AuditEntry is a write that came in by HTTP.
type AuditEntry struct {
	Seq    int64     `json:"seq"`
	Actor  string    `json:"actor"`
	Method string    `json:"method"`
	Path   string    `json:"path"`
	Remote string    `json:"remote"`
	Status *int      `json:"status"` // nil: it is not known
	At     time.Time `json:"at"`
}

// SatelliteState is a satellite as it is.
type SatelliteState struct {
	ID               string            `json:"id"`
	Name             string            `json:"name"`
	Region           string            `json:"region"`
	Tags             map[string]string `json:"tags"`
	Status           string            `json:"status"`
	LastEvent        string            `json:"last_event"`
	LastSeenAt       *time.Time        `json:"last_seen_at"`
	OfflineThreshold string            `json:"offline_threshold"`
	Version          string            `json:"version"`
	CreatedAt        time.Time         `json:"created_at"`
	Source           string            `json:"source"`
	TokenIssued      bool              `json:"token_issued"`
	Session          *struct {
		Node        string    `json:"node"`
		ConnectedAt time.Time `json:"connected_at"`
	} `json:"session"`
	Capabilities []string `json:"capabilities"`
	Files        *struct {
		Bundle string `json:"bundle"`
		Status string `json:"status"`
		Error  string `json:"error"`
	} `json:"files"`
	Work []struct {
		Capability string   `json:"capability"`
		Assigned   int      `json:"assigned"`
		Unfit      []string `json:"unfit"`
	} `json:"work"`
	Results struct {
		Buffered int64 `json:"buffered"`
		Refused  int64 `json:"refused"`
	} `json:"results"`
}

// Region counts the satellites of a region by their status.
type Region struct {
	Name     string           `json:"name"`
	Statuses map[string]int64 `json:"statuses"`
}

// Check is a check with who looks at it.
type Check struct {
	ID        string         `json:"id"`
	Source    string         `json:"source"`
	Settings  map[string]any `json:"settings"`
	State     map[string]any `json:"state"` // nil before the first result
	Observers []Observer     `json:"observers"`
	UpdatedAt time.Time      `json:"updated_at"`
}

// Observer is what one who looks thinks of a check.
type Observer struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Region    string     `json:"region"`
	Observing bool       `json:"observing"`
	Status    string     `json:"status"`
	Flapping  bool       `json:"flapping"`
	LatencyMS float64    `json:"latency_ms"`
	Message   string     `json:"message"`
	ResultAt  *time.Time `json:"result_at"`
}

// CheckResult is what came of looking once.
type CheckResult struct {
	At        time.Time `json:"at"`
	Observer  string    `json:"observer"`
	Outcome   string    `json:"outcome"`
	LatencyMS float64   `json:"latency_ms"`
	Message   string    `json:"message"`
}

// Page is a part of a list.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"` // where it goes on; "": nowhere
}

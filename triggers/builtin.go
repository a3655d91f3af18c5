package triggers

import (
	"strings"
	"time"

	"github.com/flightrules/flightrules/internal/shape"
)

// The events that the engine itself makes; those of schedules, absences and
// runs by hand are about the rule that they are for.
const (
	Tick         = EnginePrefix + "tick"          // a schedule came due
	Absence      = EnginePrefix + "absence"       // an event did not come
	Manual       = EnginePrefix + "manual"        // somebody runs a rule by hand
	RuleTripped  = EnginePrefix + "rule_tripped"  // a rule started too many runs and was paused
	SilenceEnded = EnginePrefix + "silence_ended" // a silence ended
)

// WebhookPrefix begins the names of the events of webhooks: the rest is the
// webhook's name.
const WebhookPrefix = "webhook."

// RuleKind is the kind in the events that are about a rule. It is no kind of
// entities.
const RuleKind = "rule"

// TickPayload is the payload of a Tick.
type TickPayload struct {
	ScheduledAt time.Time `json:"scheduled_at" doc:"When it was due."`
	Missed      int       `json:"missed" doc:"How many ticks before this one were missed and do not fire."`
}

// AbsencePayload is the payload of an Absence.
type AbsencePayload struct {
	Event string     `json:"event" doc:"The event that did not come."`
	Key   string     `json:"key" doc:"What it did not come for."`
	Since *time.Time `json:"since" doc:"When it last came or, with since: start, when the rule was first loaded."`
}

// TrippedPayload is the payload of RuleTripped.
type TrippedPayload struct {
	Rule   string `json:"rule"`
	Key    string `json:"key" doc:"What the rule's mode counts over."`
	Reason string `json:"reason"`
}

// SilencePayload is the payload of SilenceEnded.
type SilencePayload struct {
	Silence string `json:"silence" doc:"Its id."`
	Reason  string `json:"reason"`
}

// builtin are the types of the engine's own events.
func builtin() map[string]EventType {
	events := map[string]EventType{}
	add := func(name, kind, doc string, payload *shape.Shape, err error) {
		if err != nil {
			panic(err)
		}
		events[name] = EventType{Name: name, Kind: kind, Doc: doc, Payload: payload}
	}
	form, err := shape.Of[deriversFailed]()
	add(DeriverFailed, "", "A deriver failed on a change.", form, err)
	form, err = shape.Of[TickPayload]()
	add(Tick, RuleKind, "A schedule of a rule came due.", form, err)
	form, err = shape.Of[AbsencePayload]()
	add(Absence, RuleKind, "An event that a rule waits for did not come.", form, err)
	add(Manual, RuleKind, "Somebody runs a rule by hand; the payload is the inputs.", &shape.Shape{Type: shape.Map}, nil)
	form, err = shape.Of[TrippedPayload]()
	add(RuleTripped, RuleKind, "A rule started too many runs and was paused.", form, err)
	form, err = shape.Of[SilencePayload]()
	add(SilenceEnded, "", "A silence ended.", form, err)
	return events
}

// webhookType is the type of the event of a webhook.
func webhookType(name string) EventType {
	return EventType{Name: name, Doc: "A delivery to the webhook.", Payload: &shape.Shape{Type: shape.Object, Fields: []shape.Field{
		{Name: "body", Doc: "The body, decoded where it is JSON.", Shape: &shape.Shape{Type: shape.Any, Nullable: true}},
		{Name: "headers", Doc: "The headers, by lower-case names; without those that carry secrets.", Shape: &shape.Shape{Type: shape.Map, Elem: &shape.Shape{Type: shape.String}}},
		{Name: "query", Doc: "The query parameters.", Shape: &shape.Shape{Type: shape.Map, Elem: &shape.Shape{Type: shape.String}}},
	}}}
}

// Open says whether a name needs no declaration.
func Open(name string) bool {
	return strings.HasPrefix(name, CustomPrefix) || strings.HasPrefix(name, WebhookPrefix)
}

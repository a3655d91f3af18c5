package rules

import "slices"

// Language is everything that a file of rules can say. It is the one source of
// the JSON Schema that editors use and of the reference that people read.
type Language struct {
	Places    []Place
	Names     []Word // what expressions see
	Functions []Word // what expressions can call
	Outcomes  []Word // of decisions
	Limits    []Word
}

// Place is a map in a file whose keys are known. Its name is "rule" or, where it
// is one of several things that can stand in the same place, "trigger.state".
type Place struct {
	Name    string
	Doc     string
	Keys    []Key
	AnyOf   []string // at least one of these keys must be there; nil: none
	Example string   // one such map in YAML; "" where the examples of others show it
}

// Key is one key of a place.
type Key struct {
	Name     string
	Form     Form
	Of       string // the place, of formList, formMap and formInside
	Required bool
	Default  any      // what an absent key stands for; nil: nothing
	Words    []Word   // of formOneWord and formWords: the only values
	Pattern  string   // of formText: a regular expression; "": any text
	Least    int      // the least number or, of lists, length; 0: any
	Most     int      // the greatest number; 0: any
	Needs    []string // keys that must stand beside it
	Excludes []string // keys that must not stand beside it
	On       []string // of "modifier" and "step": the triggers or steps that it goes with; nil: all
	Doc      string
	Example  any
}

// Word is something that has a name, and what it means.
type Word struct{ Name, Doc string }

// Form is what the value of a key may be, in the words of the reference.
type Form string

// The forms.
const (
	formText            Form = "text"
	formTexts           Form = "list of texts"
	formOneOrMoreTexts  Form = "text or list of texts"
	formFlag            Form = "true or false"
	formWhole           Form = "whole number"
	formDecimal         Form = "number"
	formOneWord         Form = "word"
	formWords           Form = "list of words"
	formAnything        Form = "any value"
	formOneOrMoreValues Form = "value or list of values"
	formDuration        Form = "duration"
	formKeep            Form = "duration or forever"
	formDurationOr      Form = "duration or template"
	formMoment          Form = "time"
	formMomentOr        Form = "time or template"
	formTimeOfDay       Form = "time of day"
	formTimeZone        Form = "time zone"
	formCronSpec        Form = "cron"
	formCondition       Form = "expression that is true or false"
	formExpression      Form = "expression"
	formTemplate        Form = "text with templates"
	formVariables       Form = "map of variables"
	formValues          Form = "map"
	formSchema          Form = "JSON Schema"
	formEventName       Form = "event"
	formEmittedName     Form = "name of an event"
	formStateField      Form = "KIND.FIELD"
	formNumberField     Form = "KIND.FIELD of a number"
	formKindName        Form = "kind"
	formKeptKindName    Form = "kind whose state the engine keeps"
	formConditions      Form = "list of conditions"
	formList            Form = "list"
	formLists           Form = "list of lists"
	formWholeOr         Form = "whole number or template"
	formMap             Form = "map by name" // Pattern: of the names
	formInside          Form = "keys"
)

// anyAction stands in Key.On for every registered action.
const anyAction = "action"

// Place finds a place by its name; it is empty when there is none.
func (l *Language) Place(name string) Place {
	for _, p := range l.Places {
		if p.Name == name {
			return p
		}
	}
	return Place{}
}

// TriggerKeys are all keys that a trigger of a kind may have; nil when there is
// no such kind.
func (l *Language) TriggerKeys(kind string) []Key {
	return l.keys("trigger."+kind, kind, "modifier", "trigger")
}

// StepKeys are all keys that a step of the engine may have, such as "log"; nil
// when there is none.
func (l *Language) StepKeys(step string) []Key { return l.keys("step."+step, step, "step") }

// keys are those of a place, and those of others that go with it.
func (l *Language) keys(place, kind string, others ...string) []Key {
	own := l.Place(place).Keys
	if own == nil {
		return nil
	}
	all := slices.Clone(own)
	for _, name := range others {
		for _, k := range l.Place(name).Keys {
			if k.On == nil || slices.Contains(k.On, kind) {
				all = append(all, k)
			}
		}
	}
	return all
}

// Below are the places that can stand in the place of that name: "trigger" gives
// "trigger.event" and so on, in order.
func (l *Language) Below(name string) []Place {
	var list []Place
	for _, p := range l.Places {
		if len(p.Name) > len(name) && p.Name[:len(name)+1] == name+"." {
			list = append(list, p)
		}
	}
	return list
}

// Describe gives the language.
func Describe() *Language {
	l := &Language{Names: exprNames, Functions: exprFunctions, Outcomes: outcomeWords, Limits: limitWords}
	for _, group := range [][]Place{filePlaces, triggerPlaces, modifierPlaces, conditionPlaces, stepPlaces, silencePlaces, kindPlaces, retentionPlaces} {
		l.Places = append(l.Places, group...)
	}
	return l
}

var filePlaces = []Place{
	{
		Name: "file", Doc: "A file of rules is a map of sections.",
		Keys: []Key{
			{Name: "rules", Form: formList, Of: "rule", Doc: "What to do when something happens."},
			{Name: "kinds", Form: formList, Of: "kind", Doc: "Kinds of entities that need no Go code. The engine keeps their state."},
			{Name: "silences", Form: formList, Of: "silence", Doc: "Times in which what a rule matches is recorded and not run."},
			{Name: "retention", Form: formInside, Of: "retention", Doc: "How long what happened is kept. It stands in one file."},
		},
	},
	{
		Name: "rule", Doc: "A rule: when a trigger fires and all conditions are true, the actions run.",
		Keys: []Key{
			{
				Name: "id", Form: formText, Required: true, Pattern: ruleID.String(), Example: "page-when-satellite-is-lost",
				Doc: "Names the rule everywhere. It is unique: lower-case letters, digits and dashes.",
			},
			{Name: "name", Form: formText, Doc: "What people are shown. Without it they are shown the id.", Example: "Page when a satellite goes dark"},
			{Name: "description", Form: formText, Doc: "Why the rule is there, for people."},
			{Name: "tags", Form: formTexts, Doc: "Words to find the rule by.", Example: []any{"oncall"}},
			{Name: "enabled", Form: formFlag, Default: true, Doc: "With false the rule is checked and never fires. A pause by an operator is kept apart from this."},
			{
				Name: "mode", Form: formOneWord, Default: "single", Words: modeWords,
				Doc: "What happens to a match while a run of the same key is active, which means running or waiting.",
			},
			{
				Name: "max", Form: formWhole, Default: 10, Least: 1, Most: 10_000,
				Doc: "With mode queued: how many runs may wait. With mode parallel: how many may be active. A match beyond it is dropped and recorded. It goes with these modes only.",
			},
			{
				Name: "per", Form: formExpression, Default: "entity", Example: "event.payload.region",
				Doc: "What the mode and the cooldown count over. It is entity (each entity by itself), rule (all together), or an expression that gives the key.",
			},
			{
				Name: "retry", Form: formInside, Of: "retry",
				Doc: "How often a run is tried when it fails, from the step that did. What has succeeded is not done again. One that has failed every time is in the list of dead letters.",
			},
			{Name: "cooldown", Form: formDuration, Doc: "At most one run of a key starts in this time. A match before it is over is recorded and not run.", Example: "15m"},
			{
				Name: "variables", Form: formVariables, Example: map[string]any{"channel": "#oncall"},
				Doc: "Values that the rule calls by name, as vars.NAME. Texts may hold ${{ }}. Variables do not see each other.",
			},
			{Name: "triggers", Form: formList, Of: "trigger", Required: true, Least: 1, Doc: "What the rule waits for. Each trigger by itself makes it look."},
			{Name: "conditions", Form: formConditions, Doc: "What must be true, besides, when a trigger fires. All of them must be."},
			{Name: "actions", Form: formList, Of: "step", Required: true, Least: 1, Doc: "What is done: steps, run in order."},
		},
		Example: "id: page-when-satellite-is-lost\ntriggers: [{event: satellite.heartbeat_lost}]\nactions: [{log: \"${{ event.payload.name }} is dark\"}]",
	},
}

var modeWords = []Word{
	{"single", "The match is dropped, and its decision names the run that blocked it."},
	{"restart", "The active run is cancelled, and a new one starts."},
	{"queued", "The new run waits its turn, first come first served. Beyond max it is dropped and recorded."},
	{"parallel", "The new run starts beside it. Beyond max it is dropped and recorded."},
}

// What several triggers have in common.
var (
	holdKey = Key{
		Name: "for", Form: formDurationOr, Example: "5m",
		Doc: "Fire only when it has held all that time without a break. It survives restarts. It may be a template that gives a duration.",
	}
	entityKey = Key{
		Name: "entity", Form: formOneOrMoreTexts, Least: 1, Example: "edge-frankfurt",
		Doc: "Look only at the entity with this id, or at those of a list. Without it: at every entity of the kind.",
	}
	misfireKey = Key{
		Name: "misfire", Form: formOneWord, Default: "once", Doc: "What becomes of times that were missed, for example while the engine was down.",
		Words: []Word{
			{"skip", "They are recorded and do not fire."},
			{"once", "The last of them fires, once."},
			{"all", "Each of them fires."},
		},
	}
	jitterKey = Key{Name: "jitter", Form: formDuration, Example: "30s", Doc: "Fire later by a time up to this, so that not everything starts at the same instant."}
)

// What modifiers go with.
var (
	onMatches = []string{"event", "state", "numeric", "becomes"}
	onStates  = []string{"state", "numeric", "becomes"}
)

var triggerPlaces = []Place{
	{
		Name: "trigger", Doc: "Every trigger may have these keys too.",
		Keys: []Key{
			{
				Name: "id", Form: formText, Pattern: triggerID.String(), Example: "lost",
				Doc: "Names the trigger in decisions and as trigger.id. Without it, its position is its name: \"1\" for the first.",
			},
			{
				Name: "where", Form: formCondition, Example: `event.payload.region startsWith "eu-"`,
				On:  []string{"event", "state", "numeric", "becomes", "cron", "every", "webhook", "absent", "manual"},
				Doc: "Fire only when this is true. It is looked at when the event comes. The trigger all has it in its parts instead.",
			},
			{Name: "enabled", Form: formFlag, Default: true, Doc: "With false the trigger is checked and never fires."},
		},
	},
	{
		Name: "trigger.event", Doc: "Fires for each event of a name.",
		Keys: []Key{{
			Name: "event", Form: formEventName, Required: true, Example: "satellite.heartbeat_lost",
			Doc: "The name of the event. One that ends in .* stands for every event below it.",
		}},
		Example: "event: satellite.heartbeat_lost\nwhere: event.payload.region startsWith \"eu-\"",
	},
	{
		Name: "trigger.state", Doc: "Fires when a field of an entity changes. With neither from nor to, on any change of that field, and of no other.",
		Keys: []Key{
			{Name: "state", Form: formStateField, Required: true, Doc: "The field to watch.", Example: "satellite.status"},
			{Name: "from", Form: formOneOrMoreValues, Excludes: []string{"not_from"}, Doc: "The value before the change, or a list of them. null is absent.", Example: "online"},
			{
				Name: "to", Form: formOneOrMoreValues, Excludes: []string{"not_to"}, Example: "offline",
				Doc: "The value after the change, or a list of them. A change between two values of the list does not fire. null is absent.",
			},
			{Name: "not_from", Form: formOneOrMoreValues, Doc: "Do not fire when the value before the change is this, or in this list."},
			{Name: "not_to", Form: formOneOrMoreValues, Doc: "Do not fire when the value after the change is this, or in this list."},
			withDoc(holdKey, "Fire only when the field has stayed there all that time without a break. Without from and to: when the new value has stayed that long. "+
				"It survives restarts. It may be a template that gives a duration."),
			entityKey,
		},
		Example: "state: satellite.status\nfrom: online\nto: offline\nfor: 5m",
	},
	{
		Name: "trigger.numeric", Doc: "Fires when a number crosses into a range. A value equal to a bound is outside. It fires again after the value has left the range.",
		Keys: []Key{
			{Name: "numeric", Form: formNumberField, Required: true, Doc: "The field to watch. Its values are numbers.", Example: "backup.size_mb"},
			{Name: "above", Form: formDecimal, Doc: "The range begins above this.", Example: 900},
			{Name: "below", Form: formDecimal, Doc: "The range ends below this.", Example: 100},
			{
				Name: "reset", Form: formDecimal, Example: 800,
				Doc: "Fire again only after the value has been at this, or further outside. It keeps a value that swings around a bound from firing each time. It goes with above or below, not with both.",
			},
			withDoc(holdKey, "Fire only when the value has stayed in the range all that time. It survives restarts. It may be a template that gives a duration."),
			entityKey,
		},
		AnyOf:   []string{"above", "below"},
		Example: "numeric: backup.size_mb\nabove: 900\nreset: 800\nfor: 10m",
	},
	{
		Name: "trigger.becomes", Doc: "Fires when an expression over one entity turns from false to true.",
		Keys: []Key{
			{
				Name: "becomes", Form: formCondition, Required: true, Example: `entity.state.status == "offline" and entity.state.region == "eu-west"`,
				Doc: "The expression. It sees entity.id and entity.state, and nothing else.",
			},
			{Name: "kind", Form: formKindName, Required: true, Doc: "The kind of the entities that it looks at.", Example: "satellite"},
			withDoc(holdKey, "Fire only when the expression has stayed true all that time. It survives restarts. It may be a template that gives a duration."),
		},
		Example: "becomes: entity.state.status == \"offline\" and entity.state.region == \"eu-west\"\nkind: satellite\nfor: 2m",
	},
	{
		Name: "trigger.cron", Doc: "Fires at times of the calendar. When clocks skip an hour, what falls into it fires at the first instant after it. When an hour comes twice, it fires once.",
		Keys: []Key{
			{
				Name: "cron", Form: formCronSpec, Required: true, Example: "0 8 * * mon-fri",
				Doc: "Five fields: minute, hour, day of the month, month, day of the week. Or @hourly, @daily, @weekly, @monthly, @yearly.",
			},
			{Name: "timezone", Form: formTimeZone, Default: "UTC", Doc: "Whose clocks it goes by.", Example: "Europe/Berlin"},
			misfireKey, jitterKey,
		},
		Example: "cron: \"0 8 * * mon-fri\"\ntimezone: Europe/Berlin",
	},
	{
		Name: "trigger.every", Doc: "Fires at multiples of a duration, counted from when the rule was first loaded. It does not drift.",
		Keys: []Key{
			{Name: "every", Form: formDuration, Required: true, Doc: "The duration. It is 1s at least.", Example: "10m"},
			misfireKey, jitterKey,
		},
		Example: "every: 10m\njitter: 30s",
	},
	{
		Name: "trigger.webhook", Doc: "Fires for each request to /hooks/NAME. Its payload is body, headers and query. A delivery id that was seen before does not fire again, as long as its event is kept.",
		Keys: []Key{
			{Name: "webhook", Form: formText, Required: true, Pattern: `^[a-z][a-z0-9_]*$`, Doc: "The name, which is the end of the URL.", Example: "deploys"},
			{
				Name: "secret", Form: formText, Example: "${{ secrets.DEPLOYS }}",
				Doc: "The key of the signature, an HMAC-SHA256 of the body. Write ${{ secrets.NAME }}. Without it a request needs a token.",
			},
			{
				Name: "methods", Form: formWords, Least: 1, Default: []any{"POST"}, Doc: "The methods of HTTP that are taken.",
				Words: []Word{{"POST", ""}, {"PUT", ""}, {"PATCH", ""}, {"GET", ""}, {"DELETE", ""}},
			},
			{Name: "schema", Form: formSchema, Doc: "What the body must look like. Other bodies are refused.", Example: map[string]any{"type": "object", "required": []any{"version"}}},
		},
		Example: "webhook: deploys\nsecret: ${{ secrets.DEPLOYS }}\nschema: {type: object, required: [version]}",
	},
	{
		Name: "trigger.absent", Doc: "Fires when an event has not come for a time, once until it comes again.",
		Keys: []Key{
			{Name: "absent", Form: formEventName, Required: true, Doc: "The event that should come.", Example: "custom.backup_done"},
			{Name: "for", Form: formDuration, Required: true, Doc: "How long it may stay away.", Example: "26h"},
			{Name: "by", Form: formExpression, Doc: "Watch each value of this by itself. Without it: each entity.", Example: "event.payload.database"},
			{
				Name: "since", Form: formOneWord, Default: "seen", Doc: "From when the time counts.",
				Words: []Word{
					{"start", "From when the rule was first loaded, even if the event has never come. It counts over all events together, without by."},
					{"seen", "From when the event last came. One that has never come is not missed."},
				},
			},
		},
		Example: "absent: custom.backup_done\nfor: 26h\nby: event.payload.database",
	},
	{
		Name: "trigger.manual", Doc: "Declares the inputs of a run by hand: from the command line, the API or the screens. Every rule can be run by hand without it.",
		Keys: []Key{
			{Name: "manual", Form: formFlag, Required: true, Doc: "Always true.", Example: true},
			{Name: "inputs", Form: formMap, Of: "input", Doc: "The inputs, by name. The rule sees them as event.payload.NAME."},
		},
		Example: "manual: true\ninputs:\n  region: {type: string, enum: [eu, us], default: eu, doc: Where to look.}\n  force: {type: boolean, required: true}",
	},
	{
		Name: "input", Doc: "One input of a run by hand.",
		Keys: append(fieldKeys[:len(fieldKeys):len(fieldKeys)], Key{Name: "required", Form: formFlag, Default: false, Doc: "A run by hand must give it."}),
	},
	{
		Name: "trigger.all", Doc: "Fires when all of its parts have happened, in any order, inside a window.",
		Keys: []Key{
			{Name: "all", Form: formList, Of: "part", Required: true, Least: 2, Doc: "The parts, two at least."},
			{Name: "within", Form: formDuration, Required: true, Doc: "The length of the window.", Example: "5m"},
			{Name: "by", Form: formExpression, Doc: "Put together only what has the same value of this. Without it: everything.", Example: "event.entity.id"},
		},
		Example: "all:\n  - event: satellite.heartbeat_lost\n  - state: satellite.status\n    to: offline\n    where: event.change.next.region == \"eu-west\"\nwithin: 5m",
	},
}

var modifierPlaces = []Place{
	{
		Name: "modifier", Doc: "These keys change when event, state, numeric and becomes fire.",
		Keys: []Key{
			{
				Name: "count", Form: formWhole, On: onMatches, Least: 2, Most: 10_000, Needs: []string{"within"}, Example: 3,
				Doc: "Fire when so many matches of one key fall into the window. It looks at when the events happened, and counts each once.",
			},
			{
				Name: "within", Form: formDuration, On: onMatches, Needs: []string{"count"}, Example: "10m",
				Doc: "With count: the length of the window, which ends at the latest match. A match that is exactly so old is out.",
			},
			{Name: "by", Form: formExpression, On: onMatches, Needs: []string{"count"}, Example: "event.payload.region", Doc: "With count: what gives the key. Without it: each entity by itself."},
			{
				Name: "refire", Form: formOneWord, On: onMatches, Needs: []string{"count"}, Default: "once", Doc: "With count: what happens when the window stays full.",
				Words: []Word{
					{"every", "Every further match fires too."},
					{"once", "It fires again only after the window has held fewer than count."},
				},
			},
			{
				Name: "unless", Form: formInside, Of: "unless", On: onMatches, Excludes: []string{"for"},
				Doc: "Fire only if another event does not follow. It does not go with for.",
			},
			{Name: "group", Form: formInside, Of: "group", On: onMatches, Doc: "Collect matches and fire once for all of them. Expressions see them as events, oldest first."},
			{
				Name: "initial", Form: formFlag, On: onStates, Default: false,
				Doc: "Look also at entities as they are when the rule is first loaded. Without it, loading a rule never fires it.",
			},
		},
		Example: "event: satellite.heartbeat_lost\ncount: 3\nwithin: 10m\nby: event.payload.region\nrefire: every",
	},
	{
		Name: "unless", Doc: "Fires after a time, and only if another event did not come for the same entity.",
		Keys: []Key{
			{Name: "event", Form: formEventName, Required: true, Doc: "The other event.", Example: "satellite.connected"},
			{Name: "within", Form: formDuration, Required: true, Doc: "How long to wait for it.", Example: "2m"},
			{Name: "by", Form: formExpression, Doc: "What both events must have in common. Without it: the entity.", Example: "event.payload.region"},
			{Name: "where", Form: formCondition, Doc: "Only events for which this is true count.", Example: "event.payload.recovered"},
		},
		Example: "event: satellite.connected\nwithin: 2m",
	},
	{
		Name: "group", Doc: "Collects matches and fires once for the batch.",
		Keys: []Key{
			{Name: "by", Form: formExpression, Doc: "Collect each value of this by itself. Without it: all together.", Example: "event.payload.region"},
			{Name: "wait", Form: formDuration, Required: true, Doc: "How long after its first match a batch fires.", Example: "30s"},
			{Name: "interval", Form: formDuration, Doc: "The least time between two batches of one key.", Example: "5m"},
			{Name: "max", Form: formWhole, Default: 1000, Least: 1, Most: 1000, Doc: "A batch with so many matches fires at once."},
		},
		Example: "by: event.payload.region\nwait: 30s\ninterval: 5m\nmax: 100",
	},
	{
		Name: "part", Doc: "One part of the trigger all: a trigger event, state, numeric or becomes. It may have where, and no for.",
		Keys: []Key{{Name: "where", Form: formCondition, Doc: "Only events for which this is true count.", Example: `event.payload.region == "eu-west"`}},
	},
}

var conditionPlaces = []Place{
	{Name: "condition.any", Doc: "True when at least one of them is.", Keys: []Key{{Name: "any", Form: formConditions, Required: true, Least: 1, Doc: "At least one of these must be true."}}, Example: "any:\n  - event.payload.region == \"eu-west\"\n  - event.depth > 0"},
	{Name: "condition.all", Doc: "True when all of them are.", Keys: []Key{{Name: "all", Form: formConditions, Required: true, Least: 1, Doc: "All of these must be true."}}, Example: "all: [event.depth == 0, now() > event.at]"},
	{Name: "condition.none", Doc: "True when none of them is.", Keys: []Key{{Name: "none", Form: formConditions, Required: true, Least: 1, Doc: "None of these may be true."}}, Example: "none: [event.depth > 3]"},
	{
		Name: "condition.time", Doc: "True at some times of the day, on some days of the week.",
		Keys:    []Key{{Name: "time", Form: formInside, Of: "time", Required: true, Doc: "When it is true. A window past midnight belongs to the day on which it starts."}},
		Example: "time: {after: \"22:00\", before: \"06:00\", weekdays: [mon, tue], timezone: Europe/Berlin}",
	},
	{
		Name: "time", Doc: "A window of time. One past midnight belongs to the day on which it starts.",
		AnyOf: []string{"after", "before", "weekdays"},
		Keys: []Key{
			{Name: "after", Form: formTimeOfDay, Doc: "When it begins. Without it: at midnight.", Example: "22:00"},
			{Name: "before", Form: formTimeOfDay, Doc: "When it ends; that instant is out. Without it: at midnight.", Example: "06:00"},
			{
				Name: "weekdays", Form: formWords, Least: 1, Doc: "The days on which it starts. Without it: every day.",
				Words:   []Word{{"mon", ""}, {"tue", ""}, {"wed", ""}, {"thu", ""}, {"fri", ""}, {"sat", ""}, {"sun", ""}},
				Example: []any{"mon", "tue", "wed", "thu", "fri"},
			},
			{Name: "timezone", Form: formTimeZone, Default: "UTC", Doc: "Whose clocks it goes by.", Example: "Europe/Berlin"},
		},
	},
}

var stepPlaces = []Place{
	{
		Name: "step", Doc: "Every step may have these keys too.",
		Keys: []Key{
			{Name: "id", Form: formText, Pattern: identifier.String(), Doc: "Names the step, so that later ones can read steps.ID. Letters, digits and _.", Example: "page"},
			{Name: "name", Form: formText, Doc: "What people are shown."},
			{Name: "if", Form: formCondition, Doc: "Do the step only when this is true; else it is skipped and recorded.", Example: `steps.page.status == "succeeded"`},
			{
				Name: "timeout", Form: formDuration, Example: "10s",
				On:  []string{anyAction, "log", "set", "choose", "repeat", "parallel", "wait", "stop", "update", "emit", "run", "silence", "unsilence"},
				Doc: "How long the step may take, with all that stands below it. One that is not done by then fails. With retry it counts for each attempt.",
			},
			{Name: "retry", Form: formInside, Of: "retry", Doc: "How often the step is tried when it fails. Without it: once, or as often as the action says by itself."},
			{
				Name: "on_error", Form: formOneWord, Default: "fail", Doc: "What happens when the step fails, after all attempts.",
				Words: []Word{{"fail", "The run fails."}, {"continue", "The run goes on with the next step."}},
			},
			{Name: "enabled", Form: formFlag, Default: true, Doc: "With false the step is checked and never done."},
		},
	},
	{
		Name: "retry", Doc: "How often something is tried, and the pauses between. The run is suspended meanwhile, and the pauses survive restarts.",
		Keys: []Key{
			{Name: "attempts", Form: formWhole, Required: true, Least: 1, Most: maxAttempts, Doc: "How often in all.", Example: 5},
			{Name: "backoff", Form: formDuration, Default: "1s", Doc: "The pause after the first attempt. It doubles after each one.", Example: "10s"},
			{Name: "max_backoff", Form: formDuration, Default: "5m", Doc: "The longest pause."},
		},
		Example: "attempts: 5\nbackoff: 10s\nmax_backoff: 2m",
	},
	{
		Name: "step.log", Doc: "Writes a line to the run's trace and to the engine's log.",
		Keys: []Key{
			{Name: "log", Form: formTemplate, Required: true, Doc: "The line.", Example: "${{ event.payload.name }} is dark"},
			{
				Name: "level", Form: formOneWord, Default: "info", Doc: "How much it matters.",
				Words: []Word{{"debug", ""}, {"info", ""}, {"warn", ""}, {"error", ""}},
			},
		},
		Example: "log: ${{ event.payload.name }} is dark\nlevel: warn",
	},
	{
		Name: "step.set", Doc: "Sets variables of the run. Later steps see them as vars.NAME.",
		Keys:    []Key{{Name: "set", Form: formVariables, Required: true, Doc: "The variables and their values. Texts may hold ${{ }}.", Example: map[string]any{"count": 1}}},
		Example: "set: {answer: \"${{ steps.page.output.status }}\"}",
	},
	{
		Name: "step.choose", Doc: "Does the first branch whose expression is true, or else what stands under else.",
		Keys: []Key{
			{Name: "choose", Form: formList, Of: "branch", Required: true, Least: 1, Doc: "The branches, looked at in order."},
			{Name: "else", Form: formList, Of: "step", Doc: "What is done when no branch is true."},
		},
		Example: "choose:\n  - when: event.payload.region startsWith \"eu-\"\n    do: [{log: in Europe}]\nelse: [{log: elsewhere}]",
	},
	{
		Name: "branch", Doc: "One branch of choose.",
		Keys: []Key{
			{Name: "when", Form: formCondition, Required: true, Doc: "Do this branch when this is true.", Example: `event.payload.region == "eu-west"`},
			{Name: "do", Form: formList, Of: "step", Required: true, Doc: "The steps."},
		},
	},
	{
		Name: "step.repeat", Doc: "Does steps again and again. They see item, what the loop is at, and index, which begins with 0. Variables that they set are seen outside.",
		Keys: []Key{
			{Name: "repeat", Form: formInside, Of: "repeat", Required: true, Doc: "How often."},
			{Name: "do", Form: formList, Of: "step", Required: true, Doc: "The steps."},
			{Name: "max", Form: formWhole, Default: DefaultRepeatMax, Least: 1, Most: 1_000_000, Doc: "A loop that is not done after so many times fails."},
		},
		Example: "repeat: {for_each: event.payload.hosts}\ndo: [{log: \"${{ index }}: ${{ item }}\"}]",
	},
	{
		Name: "repeat", Doc: "How often a loop is done: one of these.", AnyOf: []string{"times", "for_each", "while", "until"},
		Keys: []Key{
			{Name: "times", Form: formWholeOr, Excludes: []string{"for_each", "while", "until"}, Doc: "So often. item is the same as index.", Example: 3},
			{Name: "for_each", Form: formExpression, Excludes: []string{"while", "until"}, Doc: "Once for each item of this list, as it is when the loop begins.", Example: "event.payload.hosts"},
			{Name: "while", Form: formCondition, Excludes: []string{"until"}, Doc: "As long as this is true. It is looked at before each time.", Example: "vars.left > 0"},
			{Name: "until", Form: formCondition, Doc: "Until this is true. It is looked at after each time.", Example: `state("satellite", event.entity.id)?.status == "online"`},
		},
	},
	{
		Name: "step.parallel", Doc: "Does several lists of steps together. A branch does not see what others set; when all have ended, the variables of each are taken over, in the order of the branches. " +
			"When a branch has failed, the step fails with the error of the first one that did, in that order, after all have ended.",
		Keys:    []Key{{Name: "parallel", Form: formLists, Of: "step", Required: true, Least: 1, Doc: "The branches: lists of steps."}},
		Example: "parallel:\n  - [{log: left}]\n  - [{wait: 5m}, {log: right}]",
	},
	{
		Name: "step.wait", Doc: "Suspends the run for a time, or until one. It survives restarts.",
		Keys:    []Key{{Name: "wait", Form: formDurationOr, Of: "wait", Required: true, Doc: "How long, such as 10m, or {until: TIME}. It may be a template.", Example: "10m"}},
		Example: "wait: 10m",
	},
	{
		Name: "wait", Doc: "Suspends the run until a time.",
		Keys: []Key{{
			Name: "until", Form: formMomentOr, Required: true, Example: "2030-01-31T12:00:00Z",
			Doc: "When the run goes on. A time that has passed does not suspend it. It may be a template.",
		}},
	},
	{
		Name: "step.wait_for", Doc: "Suspends the run until an event comes, or until a condition is true. It survives restarts. Its output has event (the one that came, or null), timed_out, and remaining (what was left of the timeout).",
		Keys: []Key{
			{Name: "wait_for", Form: formInside, Of: "wait-for", Required: true, Doc: "What for."},
			{Name: "timeout", Form: formDurationOr, Doc: "How long at most. It may be a template.", Example: "30m"},
			{
				Name: "on_timeout", Form: formOneWord, Default: "continue", Needs: []string{"timeout"}, Doc: "What happens when that time is over.",
				Words: []Word{{"continue", "The run goes on, and timed_out is true."}, {"fail", "The step fails."}},
			},
		},
		Example: "wait_for: {event: satellite.connected, where: event.entity.id == trigger.event.entity.id}\ntimeout: 30m",
	},
	{
		Name: "wait-for", Doc: "What a run waits for: an event or a condition.", AnyOf: []string{"event", "condition"},
		Keys: []Key{
			{
				Name: "event", Form: formEventName, Excludes: []string{"condition"}, Example: "custom.acknowledged",
				Doc: "An event that comes after the run began, also between two steps. One event ends one wait of a run: the next wait takes another one.",
			},
			{
				Name: "where", Form: formCondition, Needs: []string{"event"}, Example: "event.entity.id == trigger.event.entity.id",
				Doc: "Only an event for which this is true. It sees it as event, and the one with which the run began as trigger.event.",
			},
			{
				Name: "condition", Form: formCondition, Example: `held("satellite", trigger.event.entity.id, "status") > duration("5m")`,
				Doc: "What must be true. It is looked at when the wait begins, whenever an entity that it reads changes, and when time alone could make it true: " +
					"at the moment that follows from a comparison with now(), since() or held(), and else once a minute.",
			},
		},
	},
	{
		Name: "step.stop", Doc: "Ends the run. In a branch of parallel the others end first.",
		Keys: []Key{
			{Name: "stop", Form: formTemplate, Required: true, Doc: "Why.", Example: "${{ event.payload.name }} is known to be away"},
			{
				Name: "outcome", Form: formOneWord, Default: "success", Doc: "How the run ends.",
				Words: []Word{{"success", "It has succeeded."}, {"failure", "It has failed, with the reason as its error."}},
			},
		},
		Example: "stop: nothing to do\nif: event.payload.count == 0",
	},
	{
		Name: "step.update", Doc: "Changes an entity whose state the engine keeps, once, whatever crashes. A new id makes a new entity.",
		Keys: []Key{{Name: "update", Form: formInside, Of: "update", Required: true, Doc: "Which entity, and its new values."}}, Example: "update: {kind: backup, id: orders, set: {status: ok}}",
	},
	{
		Name: "update", Doc: "What is changed.",
		Keys: []Key{
			{Name: "kind", Form: formKeptKindName, Required: true, Doc: "The kind of the entity. It is one whose state the engine keeps.", Example: "backup"},
			{Name: "id", Form: formTemplate, Required: true, Doc: "The entity's id. It may hold ${{ }}.", Example: "${{ event.payload.database }}"},
			{Name: "set", Form: formValues, Required: true, Doc: "The fields to change and their new values. Texts may hold ${{ }}. Other fields stay as they are.", Example: map[string]any{"status": "ok"}},
		},
	},
	{
		Name: "step.emit", Doc: "Makes an event, once, whatever crashes. Rules that it starts are one deeper.",
		Keys:    []Key{{Name: "emit", Form: formInside, Of: "emit", Required: true, Doc: "The event and its payload."}},
		Example: "emit: {event: custom.escalation, payload: {satellite: \"${{ event.entity.id }}\"}}",
	},
	{
		Name: "emit", Doc: "The event that is made.",
		Keys: []Key{
			{
				Name: "event", Form: formEmittedName, Required: true, Example: "custom.escalation",
				Doc: "Its name: lower-case words with dots between them. Events of plugins and of the engine are not for rules to emit.",
			},
			{Name: "payload", Form: formValues, Doc: "What it carries. Texts may hold ${{ }}.", Example: map[string]any{"satellite": "${{ event.entity.id }}"}},
		},
	},
	{
		Name: "step.run", Doc: "Runs another rule, as by hand: its conditions do not count, its mode and silences do. It does not wait for it. Its output has the id of the event.",
		Keys: []Key{
			{Name: "run", Form: formText, Required: true, Doc: "The id of the rule.", Example: "reboot-host"},
			{Name: "inputs", Form: formValues, Doc: "What it is given, as event.payload. Texts may hold ${{ }}.", Example: map[string]any{"host": "${{ event.entity.id }}"}},
		},
		Example: "run: reboot-host\ninputs: {host: \"${{ event.entity.id }}\"}",
	},
	{
		Name: "step.silence", Doc: "Makes a silence. Its output has id and end.",
		Keys:    []Key{{Name: "silence", Form: formInside, Of: "hush", Required: true, Doc: "What is silenced, and for how long."}},
		Example: "silence:\n  match: event.entity.id == ${{ toJSON(event.entity.id) }}\n  for: 1h\n  reason: It is being rebooted.",
	},
	{
		Name: "hush", Doc: "A silence that a step makes. It begins at once.", AnyOf: []string{"for", "end"},
		Keys: []Key{
			{
				Name: "match", Form: formTemplate, Required: true, Example: `event.entity.id == ${{ toJSON(event.entity.id) }}`,
				Doc: "An expression over event and trigger. What ${{ }} gives is put into it, so that texts are to be quoted with toJSON.",
			},
			{Name: "for", Form: formDurationOr, Excludes: []string{"end"}, Doc: "How long. It may be a template.", Example: "1h"},
			{Name: "end", Form: formMomentOr, Doc: "When it ends. It may be a template.", Example: "2030-02-01T06:00:00Z"},
			{Name: "reason", Form: formTemplate, Doc: "Why, for people. Without it: the name of the rule.", Example: "It is being rebooted."},
			{Name: "id", Form: formTemplate, Doc: "Names it, for unsilence. Without it: an id of its own.", Example: "reboot-${{ event.entity.id }}"},
		},
	},
	{
		Name: "step.unsilence", Doc: "Ends a silence that is not of the files. One that is over already is no error.",
		Keys:    []Key{{Name: "unsilence", Form: formTemplate, Required: true, Doc: "The id of the silence.", Example: "${{ steps.quiet.output.id }}"}},
		Example: "unsilence: ${{ steps.quiet.output.id }}",
	},
}

var silencePlaces = []Place{{
	Name: "silence", Doc: "While a silence lasts, what it matches is recorded as silenced and not run. When it ends, state triggers whose state still holds are looked at again.",
	Keys: []Key{
		{Name: "id", Form: formText, Required: true, Pattern: ruleID.String(), Doc: "Names the silence. It is unique: lower-case letters, digits and dashes.", Example: "move-of-frankfurt"},
		{Name: "match", Form: formCondition, Required: true, Doc: "What is silenced: an expression over event and trigger.", Example: `trigger.rule == "page-when-satellite-is-lost"`},
		{Name: "start", Form: formMoment, Doc: "When it begins. Without it: when it is first loaded.", Example: "2030-01-31T22:00:00Z"},
		{Name: "end", Form: formMoment, Required: true, Doc: "When it ends.", Example: "2030-02-01T06:00:00Z"},
		{Name: "reason", Form: formText, Required: true, Doc: "Why, for people.", Example: "The data centre moves."},
		{Name: "author", Form: formText, Doc: "Who asked for it."},
	},
	Example: "id: move-of-frankfurt\nmatch: event.entity.id == \"edge-frankfurt\"\nstart: 2030-01-31T22:00:00Z\nend: 2030-02-01T06:00:00Z\nreason: The data centre moves.\nauthor: alice",
}}

// fieldKeys are what can be said of a field of a kind and of an input.
var fieldKeys = []Key{
	{
		Name: "type", Form: formOneWord, Required: true, Doc: "What its values are.",
		Words: []Word{
			{"string", "A text."}, {"number", "A number."}, {"integer", "A whole number."}, {"boolean", "true or false."}, {"time", "A time of RFC 3339."},
			{"duration", "A duration such as 90s."}, {"list", "A list of anything."}, {"map", "A map from texts to anything."},
		},
	},
	{Name: "enum", Form: formTexts, Least: 1, Doc: "The only values. It goes with type string.", Example: []any{"ok", "failed"}},
	{Name: "default", Form: formAnything, Doc: "The value where none is given."},
	{Name: "minimum", Form: formDecimal, Doc: "The least value of a number.", Example: 0},
	{Name: "maximum", Form: formDecimal, Doc: "The greatest value of a number.", Example: 100},
	{Name: "doc", Form: formText, Doc: "What it is, for people."},
}

var kindPlaces = []Place{
	{
		Name: "kind", Doc: "A kind of entities. The engine keeps their state. It is written over HTTP, and by the step update.",
		Keys: []Key{
			{Name: "name", Form: formText, Required: true, Pattern: `^[a-z][a-z0-9_]*$`, Doc: "Lower-case letters, digits and _. No plugin may have a kind of that name.", Example: "backup"},
			{Name: "doc", Form: formText, Doc: "What it is, for people.", Example: "A nightly backup of one database."},
			{Name: "fields", Form: formMap, Of: "kind-field", Required: true, Doc: "What the state of an entity consists of, by name."},
			{Name: "required", Form: formTexts, Doc: "Fields that every state must have.", Example: []any{"status"}},
			{Name: "stale", Form: formInside, Of: "stale", Doc: "What becomes of an entity that nobody updates for a time."},
			{Name: "events", Form: formList, Of: "kind-event", Doc: "What changes of an entity mean."},
		},
		Example: `name: backup
doc: A nightly backup of one database.
fields:
  status: {type: string, enum: [ok, failed, overdue], default: ok}
  size_mb: {type: number, minimum: 0}
required: [status]
stale: {after: 26h, set: {status: overdue}}
events:
  - name: backup.failed
    when: change.next.status == "failed" && change.prev?.status != "failed"
    payload: {database: "${{ entity.id }}", size_mb: "${{ change.next.size_mb }}"}`,
	},
	{Name: "kind-field", Doc: "One field of a kind.", Keys: fieldKeys},
	{
		Name: "stale", Doc: "A deadline: what changes when nobody has updated the entity for a time.",
		Keys: []Key{
			{Name: "after", Form: formDuration, Required: true, Doc: "How long nobody has.", Example: "26h"},
			{Name: "set", Form: formValues, Required: true, Doc: "The fields that change then, and their new values.", Example: map[string]any{"status": "overdue"}},
		},
	},
	{
		Name: "kind-event", Doc: "An event that a change means.",
		Keys: []Key{
			{Name: "name", Form: formEmittedName, Required: true, Doc: "The name of the event.", Example: "backup.failed"},
			{
				Name: "when", Form: formCondition, Required: true, Example: `change.next.status == "failed" && change.prev?.status != "failed"`,
				Doc: "The change means it when this is true. It sees entity.id, and change.prev and change.next, the states around the change.",
			},
			{Name: "payload", Form: formValues, Doc: "What the event carries. Texts may hold ${{ }}.", Example: map[string]any{"database": "${{ entity.id }}"}},
		},
	},
}

// limitKeys say how much of something is kept.
func limitKeys(keep any) []Key {
	return []Key{
		{Name: "keep", Form: formKeep, Default: keep, Example: "7d", Doc: "What is older goes."},
		{Name: "max", Form: formWhole, Least: 1, Most: 1_000_000_000, Example: 100_000, Doc: "Of each rule or kind no more than the newest so many stay. Without it: any number."},
	}
}

var retentionPlaces = []Place{
	{
		Name: "retention", Doc: "How long what happened is kept, and how much of it.",
		Keys: []Key{
			{Name: "runs", Form: formInside, Of: "retention-runs", Doc: "Runs that have ended, with their steps. The age counts from their end."},
			{Name: "decisions", Form: formInside, Of: "retention-decisions", Doc: "What became of matches."},
			{Name: "events", Form: formInside, Of: "retention-events", Doc: "What happened. An event stays as long as a decision or a run that is about it."},
			{Name: "transitions", Form: formInside, Of: "retention-transitions", Doc: "The changes of entities. The state as of any time in between can be told, and the newest change of an entity stays."},
		},
		Example: "runs: {keep: 30d, max: 10000, rules: {page-when-satellite-is-lost: {keep: 1w, max: 100}}}\ndecisions: {keep: 30d}\nevents: {keep: 30d}\ntransitions: {keep: 90d, kinds: {satellite: {max: 100000}}}",
	},
	{Name: "retention-runs", Doc: "How much is kept of the runs.", Keys: append(limitKeys("30d"), limitsOfRules)},
	{Name: "retention-decisions", Doc: "How much is kept of the decisions.", Keys: append(limitKeys("30d"), limitsOfRules)},
	{
		Name: "retention-events", Doc: "How much is kept of the events.",
		Keys: append(limitKeys("30d"), Key{
			Name: "kinds", Form: formMap, Of: "retention-limit", Pattern: `^([a-z][a-z0-9_]*)?$`, Example: map[string]any{"satellite": map[string]any{"keep": "1w"}},
			Doc: "Events about entities of these kinds are kept otherwise. rule is the kind of ticks, absences and runs by hand; \"\" stands for events without an entity.",
		}),
	},
	{
		Name: "retention-transitions", Doc: "How much is kept of the transitions.",
		Keys: append(limitKeys("90d"), Key{
			Name: "kinds", Form: formMap, Of: "retention-limit", Pattern: `^[a-z][a-z0-9_]*$`, Example: map[string]any{"satellite": map[string]any{"keep": "1w"}},
			Doc: "Those of these kinds are kept otherwise.",
		}),
	},
	{Name: "retention-limit", Doc: "An exception. What it does not say is as for the others.", Keys: limitKeys(nil)},
}

var limitsOfRules = Key{
	Name: "rules", Form: formMap, Of: "retention-limit", Pattern: ruleID.String(), Example: map[string]any{"page-when-satellite-is-lost": map[string]any{"keep": "1w"}},
	Doc: "Those of these rules are kept otherwise.",
}

var exprNames = []Word{
	{"event", "What happened: id, name, kind, at, payload, actor, depth, entity.kind, entity.id. For an event that was derived from a change also change.prev, change.next, change.fields."},
	{"events", "With group: every event of the batch, oldest first."},
	{"trigger", "Which trigger fired: id, rule."},
	{"vars", "The rule's variables, and in actions what set stored."},
	{"trigger.event", "In actions: the event with which the run began. It is the same as event but in wait_for."},
	{"item", "In repeat: what the loop is at."},
	{"index", "In repeat: how many times were done before, from 0."},
	{"secrets.NAME", "In fields that may hold secrets: the secret of that name. It is looked up when the step is done, never stored, and masked in everything that is written."},
	{"steps.ID", "In actions: output, status and error of a step that has an id."},
	{"run", "In actions: id, rule, started_at, attempt."},
	{"entity", "In becomes: id, state. In the events of a declared kind: id."},
	{"change", "In the events of a declared kind: prev and next, the states around the change."},
}

var exprFunctions = []Word{
	{"state(kind, id)", "The entity's present state, or nil."},
	{"entities(kind)", "The present states of a kind as a list of {id, state}."},
	{"since(kind, id, field)", "When the field took its present value."},
	{"held(kind, id, field)", "How long it has had it, as a duration."},
	{"transitions(kind, id, field, window)", "How often the field changed in the window, such as \"10m\"."},
	{"now()", "The time on the engine's clock, which in tests and replays is the simulated one."},
}

var outcomeWords = []Word{
	{"started", "A run started."},
	{"held", "It matched, and for began to count."},
	{"cancelled", "What had to hold for a time did not."},
	{"counted", "It matched, and the window of count or all is not full."},
	{"grouped", "It waits for its batch."},
	{"condition_false", "A condition was false."},
	{"blocked", "A run of the same key is active, and the mode is single."},
	{"queued", "Its run waits its turn."},
	{"dropped", "There are as many runs as max allows, or the rule is paused."},
	{"silenced", "A silence is about it."},
	{"cooled_down", "A run of the same key started less than cooldown ago."},
	{"depth_exceeded", "Too many runs stand behind the event."},
	{"error", "An expression could not be evaluated."},
}

var limitWords = []Word{
	{"depth", "What a run changes or emits is one deeper than the event that started it. Beyond a depth of 16 nothing fires, and the decision says so."},
	{"runs of a rule", "A rule that starts more than 100 runs in 10s for one key is tripped: it is paused with a recorded reason until somebody resumes it."},
	{"expressions", "An expression may have 5000 parts, and use a bounded amount of memory. One that needs more fails that decision with a recorded error, and never the change that caused it."},
	{"entities(kind)", "It gives 1000 entities at most."},
	{"batches", "A batch of group has 1000 events at most."},
}

func withDoc(k Key, doc string) Key {
	k.Doc = doc
	return k
}

package rules

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/flightrules/flightrules/entities"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/triggers"
)

// Schema is the JSON Schema (2020-12) of a file of rules, with the kinds, events
// and actions that there are. What other files declare, and what expressions
// say, it cannot know: a file that Load takes is valid, and not the other way
// round. It is made of maps, slices, strings, numbers and booleans and is the
// caller's.
func (c *Compiler) Schema() map[string]any {
	s := &schemaMaker{Compiler: c, language: Describe(), defs: map[string]any{}}
	file := s.place(s.language.Place("file"))
	sections := file["properties"].(map[string]any)
	for _, section := range sections {
		section.(map[string]any)["type"] = []any{"array", "null"} // one may be empty
	}
	maps.Copy(sections, c.pluginSections())
	s.names()
	s.triggers()
	s.steps()
	s.conditions()
	for _, p := range s.language.Places {
		if _, done := s.defs[p.Name]; !done && !slices.Contains([]string{"file", "modifier"}, p.Name) {
			s.defs[p.Name] = s.place(p)
		}
	}
	file["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	file["title"] = "Flight Rules"
	file["type"] = []any{"object", "null"} // a file may have nothing but comments
	file["$defs"] = s.defs
	return file
}

// pluginSections are the schemas of the sections that plugins bring, by name.
func (c *Compiler) pluginSections() map[string]any {
	sections := map[string]any{}
	for _, s := range c.Sections {
		sections[s.Name] = map[string]any{"type": []any{"array", "null"}, "description": s.Doc, "items": s.Item.JSONSchema()}
	}
	return sections
}

// schemaMaker makes one schema.
type schemaMaker struct {
	*Compiler
	language *Language
	defs     map[string]any // by the names of places, and of forms
}

// The patterns of forms, in what the regular expressions of JSON Schema and of
// Go have in common.
const (
	templatePattern  = `\$\{\{`
	durationPattern  = `^([0-9]+(\.[0-9]+)?(ns|us|µs|μs|ms|s|m|h|d|w))+$`
	timePattern      = `^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$`
	timeOfDayPattern = `^([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?$`
	cronPattern      = `^\s*(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[^@\s]\S*(\s+\S+){4})\s*$`
	eventPattern     = `^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$`
	eventsPattern    = `^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*\.\*$`
	fieldPattern     = `^[a-z][a-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*$`
	kindPattern      = `^[a-z][a-z0-9_]*$`
)

func text(pattern string) map[string]any {
	if pattern == "" {
		return map[string]any{"type": "string"}
	}
	return map[string]any{"type": "string", "pattern": pattern}
}

func ref(name string) map[string]any { return map[string]any{"$ref": "#/$defs/" + name} }

func listOf(items map[string]any) map[string]any {
	return map[string]any{"type": "array", "items": items}
}

func anyOf(several ...any) map[string]any { return map[string]any{"anyOf": several} }

// orTemplate is a schema, or a text that gives such a value when it is filled in.
func orTemplate(schema map[string]any) map[string]any {
	return anyOf(schema, text(templatePattern))
}

// plainForms are the schemas of forms that are the same everywhere.
var plainForms = map[Form]func() map[string]any{
	formTexts:           func() map[string]any { return listOf(text("")) },
	formOneOrMoreTexts:  func() map[string]any { return anyOf(text(""), atLeastOne(listOf(text("")))) },
	formFlag:            func() map[string]any { return map[string]any{"type": "boolean"} },
	formWhole:           func() map[string]any { return map[string]any{"type": "integer"} },
	formDecimal:         func() map[string]any { return map[string]any{"type": "number"} },
	formAnything:        func() map[string]any { return map[string]any{} },
	formOneOrMoreValues: func() map[string]any { return map[string]any{} },
	formDuration:        func() map[string]any { return text(durationPattern) },
	formDurationOr:      func() map[string]any { return text(durationPattern + "|" + templatePattern) },
	formMoment:          func() map[string]any { return text(timePattern) },
	formMomentOr:        func() map[string]any { return text(timePattern + "|" + templatePattern) },
	formTimeOfDay:       func() map[string]any { return text(timeOfDayPattern) },
	formTimeZone:        func() map[string]any { return text(`^[A-Za-z]`) },
	formCronSpec:        func() map[string]any { return text(cronPattern) },
	formCondition:       func() map[string]any { return bare("string", "boolean") },
	formExpression:      func() map[string]any { return bare("string") },
	formTemplate:        func() map[string]any { return text("") },
	formVariables: func() map[string]any {
		return map[string]any{"type": "object", "propertyNames": map[string]any{"pattern": identifier.String()}}
	},
	formWholeOr: func() map[string]any {
		return orTemplate(map[string]any{"type": "integer", "minimum": 0})
	},
	formValues: func() map[string]any { return map[string]any{"type": "object"} },
	formSchema: func() map[string]any { return map[string]any{"type": "object"} },
}

// bare is an expression, which stands without ${{ }}.
func bare(types ...any) map[string]any {
	return map[string]any{"type": types, "not": text(templatePattern)}
}

func atLeastOne(list map[string]any) map[string]any {
	list["minItems"] = 1
	return list
}

// form is the schema of a key's value alone.
func (s *schemaMaker) form(k Key) map[string]any {
	if plain, ok := plainForms[k.Form]; ok {
		return plain()
	}
	switch k.Form {
	case formText:
		return text(k.Pattern)
	case formOneWord:
		return words(k.Words)
	case formWords:
		return listOf(words(k.Words))
	case formConditions:
		return listOf(ref("condition"))
	case formList:
		return listOf(ref(k.Of))
	case formLists:
		return listOf(listOf(ref(k.Of)))
	case formMap:
		return map[string]any{"type": "object", "propertyNames": map[string]any{"pattern": identifier.String()}, "additionalProperties": ref(k.Of)}
	case formInside:
		return ref(k.Of)
	}
	if name, ok := namedForms[k.Form]; ok {
		return ref(name)
	}
	panic(fmt.Sprintf("no schema for a %s", k.Form)) // a test makes the schema of every key
}

func words(list []Word) map[string]any {
	names := make([]any, len(list))
	for i, w := range list {
		names[i] = w.Name
	}
	return map[string]any{"type": "string", "enum": names}
}

// key is the schema of a key with what editors show of it.
func (s *schemaMaker) key(k Key) map[string]any {
	schema := s.form(k)
	if k.Form == formDurationOr && k.Of != "" {
		schema = anyOf(schema, ref(k.Of))
	}
	doc := k.Doc
	for _, w := range k.Words {
		if w.Doc != "" {
			doc += "\n\n- " + w.Name + ": " + w.Doc
		}
	}
	schema["description"] = doc
	if k.Default != nil {
		schema["default"] = k.Default
	}
	if k.Example != nil {
		schema["examples"] = []any{k.Example}
	}
	least, most := "minimum", "maximum"
	if schema["type"] == "array" {
		least, most = "minItems", "maxItems"
	}
	if k.Least > 0 && schema["anyOf"] == nil {
		schema[least] = k.Least
	}
	if k.Most > 0 {
		schema[most] = k.Most
	}
	return schema
}

// place is the schema of a map with the place's own keys and no others.
func (s *schemaMaker) place(p Place) map[string]any { return s.object(p, p.Keys) }

func (s *schemaMaker) object(p Place, keys []Key) map[string]any {
	properties, needs := map[string]any{}, map[string]any{}
	var required, rules []any
	for _, k := range keys {
		properties[k.Name] = s.key(k)
		if k.Required {
			required = append(required, k.Name)
		}
		if k.Needs != nil {
			needs[k.Name] = anyValues(k.Needs)
		}
		for _, other := range k.Excludes {
			if slices.ContainsFunc(keys, func(k Key) bool { return k.Name == other }) {
				rules = append(rules, map[string]any{"not": map[string]any{"required": []any{k.Name, other}}})
			}
		}
	}
	schema := map[string]any{"type": "object", "description": p.Doc, "properties": properties, "additionalProperties": false}
	if required != nil {
		schema["required"] = required
	}
	if len(needs) > 0 {
		schema["dependentRequired"] = needs
	}
	if p.AnyOf != nil {
		var some []any
		for _, name := range p.AnyOf {
			some = append(some, map[string]any{"required": []any{name}})
		}
		schema["anyOf"] = some
	}
	if rules != nil {
		schema["allOf"] = rules
	}
	return schema
}

func anyValues(list []string) []any {
	values := make([]any, len(list))
	for i := range list {
		values[i] = list[i]
	}
	return values
}

// triggers adds the schemas of triggers, and of the parts of `all`.
func (s *schemaMaker) triggers() {
	var kinds, parts []any
	for _, p := range s.language.Below("trigger") {
		name := strings.TrimPrefix(p.Name, "trigger.")
		schema := s.object(p, s.language.TriggerKeys(name))
		schema["title"] = name + " trigger"
		if name == "manual" {
			yes := schema["properties"].(map[string]any)["manual"].(map[string]any)
			yes["const"], yes["default"] = true, true
		}
		if name == "state" {
			s.values(schema)
		}
		s.defs[p.Name] = schema
		kinds = append(kinds, ref(p.Name))
		if slices.Contains(onMatches, name) {
			keys := slices.DeleteFunc(slices.Clone(p.Keys), func(k Key) bool { return k.Name == "for" })
			s.defs["part."+name] = s.object(p, append(keys, s.language.Place("part").Keys...))
			parts = append(parts, ref("part."+name))
		}
	}
	s.defs["trigger"] = anyOf(kinds...)
	s.defs["part"] = anyOf(parts...)
}

// values says of a state trigger which values its field can have.
func (s *schemaMaker) values(trigger map[string]any) {
	rules, _ := trigger["allOf"].([]any)
	for _, kind := range s.Events.Kinds() {
		for _, f := range recordedFields(kind) {
			if slices.Contains([]shape.Type{shape.List, shape.Map, shape.Object, shape.Any}, f.Shape.Type) {
				continue
			}
			one := (&shape.Shape{Type: f.Shape.Type, Enum: f.Shape.Enum, Nullable: true}).JSONSchema()
			properties := map[string]any{}
			for _, key := range []string{"from", "to", "not_from", "not_to"} {
				properties[key] = anyOf(one, atLeastOne(listOf(one)))
			}
			rules = append(rules, map[string]any{
				"if": map[string]any{
					"properties": map[string]any{"state": map[string]any{"const": kind.Name + "." + f.Name}}, "required": []any{"state"},
				},
				"then": map[string]any{"properties": properties},
			})
		}
	}
	if rules != nil {
		trigger["allOf"] = rules
	}
}

// conditions adds the schemas of what stands under `conditions`.
func (s *schemaMaker) conditions() {
	expression := s.key(Key{Form: formCondition, Doc: "An expression that must be true.", Example: `state("satellite", event.entity.id)?.status == "offline"`})
	several := []any{expression}
	for _, p := range s.language.Below("condition") {
		schema := s.place(p)
		schema["title"] = strings.TrimPrefix(p.Name, "condition.") + " condition"
		s.defs[p.Name] = schema
		several = append(several, ref(p.Name))
	}
	s.defs["condition"] = anyOf(several...)
}

// steps adds the schemas of steps, those of actions among them.
func (s *schemaMaker) steps() {
	var all []any
	for _, p := range s.language.Below("step") {
		name := strings.TrimPrefix(p.Name, "step.")
		schema := s.object(p, s.language.StepKeys(name))
		schema["title"] = name + " step"
		s.defs[p.Name] = schema
		all = append(all, ref(p.Name))
	}
	for _, a := range s.Actions.List() {
		name := "step." + a.Name
		schema := s.object(Place{Doc: a.Doc}, s.language.actionKeys())
		schema["title"] = a.Name + " step"
		filled := configSchema(a.Config, false)
		filled["title"] = a.Name
		config := orTemplate(filled)
		config["description"] = a.Doc
		schema["properties"].(map[string]any)[a.Name] = config
		schema["required"] = []any{a.Name}
		s.defs[name] = schema
		all = append(all, ref(name))
	}
	s.defs["step"] = anyOf(all...)
	s.updates()
}

// actionKeys are the keys that the step of an action may have beside it.
func (l *Language) actionKeys() []Key {
	return slices.DeleteFunc(slices.Clone(l.Place("step").Keys), func(k Key) bool {
		return k.On != nil && !slices.Contains(k.On, anyAction)
	})
}

// updates adds the schema of what stands under `update`: for each kind that is
// known its fields, and for those that files declare any.
func (s *schemaMaker) updates() {
	place := s.language.Place("update")
	var several []any
	for _, kind := range s.Events.Kinds() {
		if !kind.Kept {
			continue
		}
		schema := s.place(place)
		properties := schema["properties"].(map[string]any)
		properties["kind"] = map[string]any{"const": kind.Name, "description": kind.Doc}
		set := configSchema(kind.Shape, true)
		set["description"] = properties["set"].(map[string]any)["description"]
		properties["set"] = set
		several = append(several, schema)
	}
	declared := s.place(place)
	if several == nil {
		s.defs["update"] = declared
		return
	}
	s.defs["update"] = anyOf(append(several, declared)...)
}

// configSchema is a shape as it stands in a rule: every value but the first may
// be a template. With partial, what is required may be missing.
func configSchema(form *shape.Shape, partial bool) map[string]any {
	schema := form.JSONSchema()
	switch form.Type {
	case shape.Object:
		properties := map[string]any{}
		for _, f := range form.Fields {
			property := configValue(f.Shape, !f.Required)
			if f.Doc != "" {
				property["description"] = f.Doc
			}
			properties[f.Name] = property
		}
		schema["properties"] = properties
		if partial {
			delete(schema, "required")
		}
	case shape.Map:
		schema["additionalProperties"] = configValue(form.Elem, false)
	case shape.List:
		schema["items"] = configValue(form.Elem, false)
	}
	return schema
}

func configValue(form *shape.Shape, nullable bool) map[string]any {
	if form == nil || form.Type == shape.Any {
		return map[string]any{}
	}
	copied := *form
	copied.Nullable = form.Nullable || nullable
	schema := configSchema(&copied, false)
	if form.Type == shape.String && form.Enum == nil {
		return schema
	}
	return orTemplate(schema)
}

// namedForms are the forms whose schema depends on what there is, and the names
// under which it is defined once.
var namedForms = map[Form]string{
	formEventName: "event-name", formEmittedName: "emitted-name", formStateField: "state-field", formNumberField: "number-field",
	formKindName: "kind-name", formKeptKindName: "kept-kind-name",
}

// names adds the schemas of the names of events, kinds and fields: those that
// are known, so that editors can offer them, and whatever a file may declare.
func (s *schemaMaker) names() {
	var events, fields, numbers, kinds, known []any
	var plugins []string // kinds, for patterns
	for _, e := range s.Events.Events() {
		events = append(events, named(e.Name, e.Doc+payloadText(e)))
		if !strings.HasPrefix(e.Name, triggers.CustomPrefix) {
			known = append(known, e.Name)
		}
	}
	for _, k := range s.Events.Kinds() {
		plugins = append(plugins, regexp.QuoteMeta(k.Name))
		kinds = append(kinds, named(k.Name, k.Doc))
		for _, f := range recordedFields(k) {
			one := named(k.Name+"."+f.Name, fieldText(f.Name, f.Shape, f.Doc))
			fields = append(fields, one)
			if f.Shape.Type == shape.Number || f.Shape.Type == shape.Integer || f.Shape.Type == shape.Any {
				numbers = append(numbers, one)
			}
		}
	}
	// A file may declare a kind, but not one of a plugin's name.
	others := func(pattern, after string) map[string]any {
		schema := text(pattern)
		if plugins != nil {
			schema["not"] = text("^(" + strings.Join(plugins, "|") + ")" + after)
		}
		return schema
	}
	events = append(events, text(eventPattern), text(eventsPattern))
	s.defs["event-name"] = anyOf(events...)
	emitted := text(eventPattern)
	emitted["not"] = anyOf(map[string]any{"enum": known}, text(`^engine\.`))
	s.defs["emitted-name"] = emitted
	s.defs["state-field"] = anyOf(append(fields, others(fieldPattern, `\.`))...)
	s.defs["number-field"] = anyOf(append(numbers, others(fieldPattern, `\.`))...)
	s.defs["kind-name"] = anyOf(append(kinds, others(kindPattern, "$"))...)
	s.defs["kept-kind-name"] = others(kindPattern, "$")
}

func named(value, doc string) map[string]any {
	return map[string]any{"const": value, "description": strings.TrimSpace(doc)}
}

// payloadText lists what the payload of an event holds.
func payloadText(e triggers.EventType) string {
	if e.Payload == nil || len(e.Payload.Fields) == 0 {
		return ""
	}
	text := "\n\nPayload:\n"
	for _, f := range e.Payload.Fields {
		text += "\n- " + fieldText("event.payload."+f.Name, f.Shape, f.Doc)
	}
	return text
}

func fieldText(name string, form *shape.Shape, doc string) string {
	text := name + ": " + string(form.Type)
	if form.Enum != nil {
		text += " (" + strings.Join(form.Enum, ", ") + ")"
	}
	if doc != "" {
		text += ". " + doc
	}
	return text
}

// recordedFields are the fields of a kind of which each change is recorded.
func recordedFields(k entities.KindInfo) []shape.Field {
	return slices.DeleteFunc(slices.Clone(k.Shape.Fields), func(f shape.Field) bool { return !f.Reactive })
}

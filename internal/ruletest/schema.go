package ruletest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing/fstest"

	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/internal/sim"
	"github.com/flightrules/flightrules/plugins"
	"github.com/flightrules/flightrules/rules"
)

// described is all that can stand in a file of tests.
type described struct {
	given, steps, sights, actions []entry
}

// entry is one key with what stands behind it; form may be nil.
type entry struct {
	key, doc string
	form     *shape.Shape
	short    bool // a text alone may stand for it
	flag     bool // true may stand for it
	loose    bool // nothing of it must be there
	output   *shape.Shape
}

// describe gives what the language is with some plugins.
func describe(ctx context.Context, brought func() []plugins.Plugin) (d described, err error) {
	lab, err := sim.NewLab(ctx, fstest.MapFS{}, "", brought)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, lab.Close(ctx)) }()
	d.given = []entry{
		{key: "entity", doc: "An entity that is there.", form: form[givenEntity]()},
		{key: "silence", doc: "A silence that is in force.", form: form[silenceArg]()},
		{key: "secrets", doc: "The values of secrets, by name.", form: form[map[string]string]()},
		{key: "time", doc: "When the test begins, by the engine's clock; Monday, 2026-01-05T00:00:00Z unless said otherwise.", form: &shape.Shape{Type: shape.String}},
		{key: "timezone", doc: "The zone of times that are written without an offset; UTC unless said otherwise.", form: &shape.Shape{Type: shape.String}},
	}
	own := ownVerbs()
	for _, name := range slices.Sorted(maps.Keys(own)) {
		v := own[name]
		d.steps = append(d.steps, entry{key: name, doc: v.doc, form: v.form, short: v.short != "", flag: v.flag})
	}
	for _, v := range lab.Verbs() {
		one := entry{key: v.Name, doc: v.Doc, form: v.Arg}
		if v.Given {
			d.given = append(d.given, one)
		} else {
			d.steps = append(d.steps, one)
		}
	}
	p := &parser{lab: lab}
	for _, name := range slices.Sorted(maps.Keys(sights)) {
		d.sights = append(d.sights, entry{key: name, doc: sights[name].doc, form: sights[name].form(p), short: sights[name].short != "", loose: true})
	}
	for _, a := range lab.Compiler.Actions.List() {
		d.actions = append(d.actions, entry{key: a.Name, doc: a.Doc, form: a.Config, output: a.Output, loose: true})
	}
	return d, nil
}

// Schema is the JSON Schema (2020-12) of files of tests with some plugins. A file
// that Open takes is valid, and not the other way round.
func Schema(ctx context.Context, brought func() []plugins.Plugin) (map[string]any, error) {
	d, err := describe(ctx, brought)
	if err != nil {
		return nil, err
	}
	object := func(properties map[string]any, required ...any) map[string]any {
		o := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
		if required != nil {
			o["required"] = required
		}
		return o
	}
	list := func(of map[string]any) map[string]any { return map[string]any{"type": "array", "items": of} }
	text := func(doc string) map[string]any { return map[string]any{"type": "string", "description": doc} }
	whole := map[string]any{"type": "integer", "minimum": 0}

	given, steps, expect, response := map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}
	for _, e := range d.given {
		given[e.key] = e.schema()
	}
	for _, e := range d.steps {
		steps[e.key] = e.schema()
	}
	for _, e := range d.sights {
		rows := list(e.schema())
		counted := object(map[string]any{"count": whole, "where": e.schema(), "include": rows, "exclude": rows})
		ways := []any{whole, rows, counted}
		if e.key == "decisions" {
			outcome, _ := e.form.Field("outcome")
			counts := map[string]any{}
			for _, name := range outcome.Shape.Enum {
				counts[name] = whole
			}
			ways = append(ways, object(counts))
		}
		expect[e.key] = map[string]any{"anyOf": ways, "description": e.doc + " A number is how many; a list is all of them, each with some of what it has; count, include and exclude say less, of those that are like where."}
	}
	expect["entities"] = list(form[entityWanted]().JSONSchema())
	expect["error"] = text("The error of what happens in the step.")
	expect["snapshot"] = map[string]any{"const": true, "description": "All that can be seen is as it was when flightrules test --update took it."}
	for _, e := range d.actions {
		response[e.key] = e.schema()
	}
	reply := form[reply]().JSONSchema()
	response["rule"] = text("Only calls of this rule.")
	response["step"] = text("Only calls of the step with this path.")
	response["reply"] = reply
	response["replies"] = list(reply)
	steps["at"] = text("When: a duration since the start, or a time.")
	steps["name"] = text("How failures call it.")
	steps["expect"] = object(expect)
	test := object(map[string]any{
		"name": text(""), "description": text(""), "rules": list(text("")), "given": list(object(given)), "responses": list(object(response)), "steps": list(object(steps)),
	}, "name", "steps")
	file := object(map[string]any{"tests": list(test)}, "tests")
	file["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	file["title"] = "Tests of Flight Rules"
	return file, nil
}

// schema is what stands behind a key. Texts between slashes are patterns, and may
// stand for anything in what is loose.
func (e entry) schema() map[string]any {
	var schema map[string]any
	switch {
	case e.form == nil:
		schema = map[string]any{}
	case e.loose:
		schema = loosely(e.form)
	default:
		schema = e.form.JSONSchema()
	}
	if e.short {
		schema = map[string]any{"anyOf": []any{map[string]any{"type": "string"}, schema}}
	}
	if e.flag {
		ways := []any{map[string]any{"const": true}}
		if e.form != nil {
			ways = append(ways, schema)
		}
		schema = map[string]any{"anyOf": ways}
	}
	schema["description"] = e.doc
	return schema
}

func loosely(f *shape.Shape) map[string]any {
	if f.Type != shape.Object {
		return map[string]any{}
	}
	properties := map[string]any{}
	for _, one := range f.Fields {
		property := map[string]any{}
		if one.Shape.Type == shape.Object {
			property = map[string]any{"anyOf": []any{loosely(one.Shape), map[string]any{"type": "null"}}}
		}
		if one.Doc != "" {
			property["description"] = one.Doc
		}
		properties[one.Name] = property
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

// Reference fills in what the reference of the test language says of what there
// is with some plugins; see rules.FillIn.
func Reference(ctx context.Context, brought func() []plugins.Plugin, document string) (string, error) {
	d, err := describe(ctx, brought)
	if err != nil {
		return "", err
	}
	parts := map[string][]entry{"given": d.given, "steps": d.steps, "expect": d.sights}
	return rules.FillIn(document, func(what, _ string) (string, error) {
		entries, ok := parts[what]
		if !ok {
			return "", fmt.Errorf("there is no part %q", what)
		}
		var b strings.Builder
		b.WriteString("| key | | what stands there |\n| --- | --- | --- |\n")
		for _, e := range entries {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", e.key, cell(e.doc), cell(e.fields()))
		}
		return b.String(), nil
	})
}

func cell(text string) string { return strings.ReplaceAll(text, "|", "\\|") }

func (e entry) fields() string {
	if e.form == nil || e.form.Type != shape.Object {
		switch {
		case e.flag:
			return "`true`"
		case e.form == nil:
			return ""
		}
		return string(e.form.Type)
	}
	var list []string
	for _, f := range e.form.Fields {
		text := "`" + f.Name + "`"
		if f.Required && !e.loose {
			text = "**" + text + "**"
		}
		if f.Doc != "" {
			text += " (" + strings.TrimSuffix(f.Doc, ".") + ")"
		}
		list = append(list, text)
	}
	text := strings.Join(list, ", ")
	if e.short {
		text += "; or a text alone"
	}
	if e.flag {
		text += "; or `true`"
	}
	return text
}

package rules

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/shape"
	"github.com/flightrules/flightrules/triggers"
)

// marked is a part of a document that is generated, with the marker that says
// what it is.
var marked = regexp.MustCompile(`(?s)(<!-- generated: ([a-z-]+)(?: ([a-z.-]+))? -->\n).*?(<!-- end -->)`)

// Reference fills in the parts of a document in Markdown that can be told from
// the language and from what is registered; they stand between
//
//	<!-- generated: WHAT NAME -->
//	<!-- end -->
//
// where WHAT is keys (of the place NAME), words (of the key PLACE.KEY), places
// (below NAME), names, functions, outcomes, limits, actions, sections, events
// or kinds.
func (c *Compiler) Reference(document string) (string, error) {
	r := &reference{Compiler: c, language: Describe()}
	return FillIn(document, r.part)
}

// FillIn writes the parts of a document anew that stand between the lines
// <!-- generated: WHAT NAME --> and <!-- end -->; a document has some.
func FillIn(document string, part func(what, name string) (string, error)) (string, error) {
	var errs []error
	document = marked.ReplaceAllStringFunc(document, func(whole string) string {
		found := marked.FindStringSubmatch(whole)
		text, err := part(found[2], found[3])
		errs = append(errs, err)
		return found[1] + "\n" + strings.TrimSpace(text) + "\n\n" + found[4]
	})
	if errs == nil {
		errs = append(errs, errors.New("nothing in the document is generated"))
	}
	return document, errors.Join(errs...)
}

type reference struct {
	*Compiler
	language *Language
}

func (r *reference) part(what, name string) (string, error) {
	l := r.language
	switch what {
	case "keys":
		if p := l.Place(name); p.Keys != nil {
			return keyTable(p.Keys), nil
		}
	case "words":
		if place, key, ok := strings.Cut(name, "."); ok {
			for _, k := range l.Place(place).Keys {
				if k.Name == key && k.Words != nil {
					return wordTable(key, k.Words), nil
				}
			}
		}
	case "places":
		if list := l.Below(name); list != nil {
			return sectionsOf(name, list), nil
		}
	case "names":
		return wordTable("name", l.Names), nil
	case "functions":
		return wordTable("function", l.Functions), nil
	case "outcomes":
		return wordTable("outcome", l.Outcomes), nil
	case "limits":
		return wordTable("limit of", l.Limits), nil
	case "actions":
		return r.actions(), nil
	case "sections":
		return r.pluginSections(), nil
	case "events":
		return r.events(), nil
	case "kinds":
		return r.kinds(), nil
	}
	return "", fmt.Errorf("nobody knows how to generate %q", strings.TrimSpace(what+" "+name))
}

// sectionsOf tells of those that can stand in one place, each with its keys and an
// example.
func sectionsOf(of string, list []Place) string {
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintf(&b, "### `%s`\n\n%s\n\n%s\n", strings.TrimPrefix(p.Name, of+"."), p.Doc, keyTable(p.Keys))
		if p.Example != "" {
			fmt.Fprintf(&b, "```yaml\n- %s\n```\n\n", strings.ReplaceAll(p.Example, "\n", "\n  "))
		}
	}
	return b.String()
}

func keyTable(keys []Key) string {
	rows := [][]string{{"key", "value", ""}}
	for _, k := range keys {
		rows = append(rows, []string{code(k.Name), k.value(), k.meaning()})
	}
	return table(rows)
}

// value says what the value of a key may be.
func (k Key) value() string {
	var names []string
	for _, w := range k.Words {
		names = append(names, code(w.Name))
	}
	text := string(k.Form)
	switch {
	case k.Form == formOneWord:
		text = strings.Join(names, ", ")
	case k.Form == formWords:
		text = "list of " + strings.Join(names, ", ")
	case k.Form == formList:
		text = "list of " + plural(k.Of)
	case k.Form == formLists:
		text = "list of lists of " + plural(k.Of)
	case k.Form == formMap:
		text = "map of " + plural(k.Of) + " by name"
		if k.Of == "retention-limit" {
			text = "map by name of the same keys"
		}
	case k.Form == formInside:
		text = "a map: see below"
	case k.Form == formDurationOr && k.Of != "":
		text = "duration, template or {until: TIME}"
	case k.Form == formWhole && k.Most > 0:
		text += fmt.Sprintf(", %d to %d", k.Least, k.Most)
	}
	return text
}

// plural is what several of a place are called.
func plural(place string) string {
	name := strings.ReplaceAll(place, "-", " ")
	name = strings.TrimPrefix(name, "kind ")
	if stem, ok := strings.CutSuffix(name, "ch"); ok {
		return stem + "ches"
	}
	return name + "s"
}

// meaning is what a key is for, with what goes without saying and an example.
func (k Key) meaning() string {
	text := k.Doc
	if k.Required {
		text = "Required. " + text
	}
	for _, w := range k.Words {
		if w.Doc != "" {
			text += " " + code(w.Name) + ": " + w.Doc
		}
	}
	if k.Default != nil {
		text += " Default: " + code(inYAML(k.Default)) + "."
	}
	if k.Example != nil {
		text += " Example: " + code(inYAML(k.Example))
	}
	return text
}

// inYAML is a value as it is written in a line.
func inYAML(v any) string {
	var node yaml.Node
	if err := node.Encode(v); err != nil {
		panic(err) // the table holds plain values alone
	}
	node.Style = yaml.FlowStyle
	b, err := yaml.Marshal(&node)
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(b))
}

func wordTable(head string, words []Word) string {
	rows := [][]string{{head, ""}}
	for _, w := range words {
		rows = append(rows, []string{code(w.Name), w.Doc})
	}
	return table(rows)
}

// actions are those that are registered.
func (r *reference) actions() string {
	var b strings.Builder
	for _, a := range r.Actions.List() {
		doc := a.Doc
		if r := a.Retry; r.Attempts > 1 {
			doc += fmt.Sprintf(" Without `retry`, a step is tried %d times, with pauses of %s that double up to %s.", r.Attempts, duration.Format(r.Backoff), duration.Format(r.MaxBackoff))
		}
		fmt.Fprintf(&b, "### `%s`\n\n%s\n\n%s\nIts output, which later steps see as `steps.ID.output`:\n\n%s\n", a.Name, doc, fieldTable(a.Config, true), fieldTable(a.Output, false))
	}
	return b.String()
}

// pluginSections are the sections of the files that plugins bring.
func (r *reference) pluginSections() string {
	var b strings.Builder
	for _, s := range r.Sections {
		fmt.Fprintf(&b, "### `%s:`\n\n%s\n\n%s\n", s.Name, s.Doc, fieldTable(s.Item, true))
		for _, f := range s.Item.Fields {
			if f.Shape.Type == shape.Object {
				fmt.Fprintf(&b, "What stands in `%s`:\n\n%s\n", f.Name, fieldTable(f.Shape, true))
			}
		}
	}
	return b.String()
}

// events are those of plugins and of the engine.
func (r *reference) events() string {
	rows := [][]string{{"event", "", "payload"}}
	for _, e := range r.Events.Events() {
		if _, change := triggers.ChangedKind(e.Name); change {
			continue // one for each kind, which the text beside tells
		}
		var payload []string
		if e.Payload != nil {
			for _, f := range e.Payload.Fields {
				payload = append(payload, code(f.Name)+" "+typeName(f.Shape))
			}
		}
		rows = append(rows, []string{code(e.Name), e.Doc, strings.Join(payload, ", ")})
	}
	return table(rows)
}

// kinds are those of plugins.
func (r *reference) kinds() string {
	var b strings.Builder
	for _, k := range r.Events.Kinds() {
		fmt.Fprintf(&b, "### `%s`\n\n%s\n\n%s\n", k.Name, k.Doc, fieldTable(k.Shape, false))
	}
	return b.String()
}

func fieldTable(form *shape.Shape, required bool) string {
	rows := [][]string{{"field", "type", ""}}
	for _, f := range form.Fields {
		doc := f.Doc
		if required && f.Required {
			doc = "Required. " + doc
		}
		if !required && !f.Reactive {
			doc += " A change of it alone is not recorded."
		}
		rows = append(rows, []string{code(f.Name), typeName(f.Shape), doc})
	}
	return table(rows)
}

func typeName(form *shape.Shape) string {
	name := string(form.Type)
	switch {
	case form.Enum != nil:
		name += ": " + strings.Join(form.Enum, ", ")
	case form.Elem != nil && form.Elem.Type != shape.Any && form.Elem.Type != shape.Object:
		name += " of " + plural(string(form.Elem.Type))
	}
	return name
}

// table is a table in Markdown; the first row is its head.
func table(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		for _, cell := range row {
			b.WriteString("| " + strings.TrimSpace(strings.ReplaceAll(cell, "|", `\|`)) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("| --- ", len(row)) + "|\n")
		}
	}
	return strings.ReplaceAll(b.String(), "|  |", "| |")
}

func code(text string) string { return "`" + text + "`" }

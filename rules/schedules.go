package rules

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/flightrules/flightrules/internal/yamlx"
	"github.com/flightrules/flightrules/triggers"
)

func (t *triggerParser) cron(n yamlx.Node) {
	zone := t.m.Take("timezone")
	s := t.schedule()
	t.events = []string{triggers.Tick}
	text, ok := n.Text(t.ps)
	if !ok {
		return
	}
	name := "UTC"
	if z := t.zone(zone); z != nil {
		name = z.String()
	}
	cron, err := triggers.ParseCron(text, name)
	if err != nil {
		message, hint, _ := strings.Cut(err.Error(), "; ")
		t.ps.Add(n, message, hint)
		return
	}
	s.Cron = cron
}

func (t *triggerParser) every(n yamlx.Node) {
	s := t.schedule()
	t.events = []string{triggers.Tick}
	d, ok := n.Duration(t.ps)
	if ok && d < minEvery {
		t.ps.Add(n, fmt.Sprintf("every must be %s at least", minEvery), "")
	}
	s.Every = d
	if ok && s.Jitter > d {
		t.ps.Add(t.m.KeyNode("jitter"), "jitter must not be longer than the period", "")
	}
}

// schedule reads what cron and every have in common.
func (t *triggerParser) schedule() *Schedule {
	misfire, jitter := t.m.Take("misfire"), t.m.Take("jitter")
	t.Schedule = &Schedule{Misfire: Misfire(t.choice(misfire, "misfire", string(MisfireOnce), string(MisfireSkip), string(MisfireOnce), string(MisfireAll)))}
	if !jitter.IsZero() {
		t.Schedule.Jitter, _ = jitter.Duration(t.ps)
	}
	return t.Schedule
}

var webhookName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// SecretRef is what a field that may hold a secret says instead of it.
var SecretRef = regexp.MustCompile(`^\$\{\{\s*secrets\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}$`)

func (t *triggerParser) webhook(n yamlx.Node) {
	secret, methods, schema := t.m.Take("secret"), t.m.Take("methods"), t.m.Take("schema")
	w := &Webhook{Methods: []string{http.MethodPost}, Secret: t.text(secret)}
	if strings.Contains(w.Secret, "${{") && !SecretRef.MatchString(w.Secret) {
		t.ps.Add(secret, "a secret is named by itself", "write ${{ secrets.NAME }}")
	} else if w.Secret != "" && !SecretRef.MatchString(w.Secret) {
		t.ps.Warn(secret, "this secret can be read by everybody who may read the rules", "write ${{ secrets.NAME }}")
	}
	if !methods.IsZero() {
		w.Methods = t.methods(methods)
	}
	if !schema.IsZero() {
		w.Schema = t.jsonSchema(schema)
	}
	name, ok := n.Text(t.ps)
	if !ok {
		return
	}
	if !webhookName.MatchString(name) {
		t.ps.Add(n, fmt.Sprintf("bad webhook name %q", name), "a name is lower case letters, digits and _; the URL is /hooks/NAME")
		return
	}
	w.Name = name
	event := triggers.WebhookPrefix + name
	t.events, t.Webhook, t.Trigger.Trigger = []string{event}, w, triggers.OnEvent{Name: event}
	t.agree(n, w)
}

// agree reports two triggers on one webhook that do not treat it alike: a
// delivery is taken or refused once for all of them.
func (t *triggerParser) agree(n yamlx.Node, w *Webhook) {
	first, ok := t.webhooks[w.Name]
	if !ok {
		t.webhooks[w.Name] = w
		return
	}
	if first.Secret != w.Secret || !slices.Equal(first.Methods, w.Methods) || (first.Schema == nil) != (w.Schema == nil) {
		t.ps.Add(n, fmt.Sprintf("webhook %q stands in another trigger with another secret, methods or schema", w.Name), "say the same in both, or take another name")
	}
}

func (t *triggerParser) methods(n yamlx.Node) []string {
	list := t.texts(n)
	t.notEmpty(n)
	for i, method := range list {
		if !slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodGet, http.MethodDelete}, method) {
			t.ps.Add(n.At(i), fmt.Sprintf("unknown method %q", method), "it is POST, PUT, PATCH, GET or DELETE")
		}
	}
	return list
}

func (p *parser) jsonSchema(n yamlx.Node) *jsonschema.Schema {
	if !n.IsMap() {
		p.ps.Add(n, "schema must be a JSON Schema", "such as {type: object, required: [id]}")
		return nil
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{}) // nothing is fetched
	const url = "mem:///schema"
	if err := compiler.AddResource(url, jsonValue(n.Value())); err != nil {
		p.ps.Add(n, "bad JSON Schema: "+firstLine(err.Error()), "")
		return nil
	}
	schema, err := compiler.Compile(url)
	if err != nil {
		p.ps.Add(n, "bad JSON Schema: "+schemaFault(err), "")
		return nil
	}
	return schema
}

// schemaFault is what is wrong with a schema, in a line.
func schemaFault(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return strings.TrimSpace(strings.TrimLeft(lines[len(lines)-1], "- "))
}

// jsonValue is a plain value as decoded JSON has it.
func jsonValue(v any) any {
	switch v := v.(type) {
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = jsonValue(v[i])
		}
		return list
	case map[string]any:
		m := make(map[string]any, len(v))
		for key := range v {
			m[key] = jsonValue(v[key])
		}
		return m
	}
	return v
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// manualPrefix begins the names under which a load knows the events of runs by
// hand, each with the inputs of its rule.
const manualPrefix = triggers.Manual + "/"

func (t *triggerParser) manual(n yamlx.Node) {
	inputs := t.m.Take("inputs")
	if yes, ok := n.Bool(t.ps); ok && !yes {
		t.ps.Add(n, "manual: false says nothing", "every rule can be run by hand; manual: true declares inputs")
	}
	form := object()
	if !inputs.IsZero() {
		form = t.fieldSpecs(inputs, true)
	}
	t.Manual = &Manual{Inputs: form}
	name := manualPrefix + t.rule.ID
	t.special[name] = triggers.EventType{Name: triggers.Manual, Payload: form}
	t.events = []string{name}
}

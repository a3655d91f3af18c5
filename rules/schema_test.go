package rules_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/flightrules/flightrules/rules"
)

// fileSchema is the schema of files, compiled with everything that is an
// assertion in the draft.
func fileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	b, err := json.Marshal(newCompiler(t).Schema())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if m := doc.(map[string]any); m["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("the schema is of %v", m["$schema"])
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("rules.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("rules.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// validate validates a file, which an editor reads as YAML of the core schema:
// times are texts.
func validate(t *testing.T, schema *jsonschema.Schema, text string) error {
	t.Helper()
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		return err
	}
	timesAreTexts(&node)
	var v any
	if err := node.Decode(&v); err != nil {
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	plain, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		return err
	}
	return schema.Validate(plain)
}

func timesAreTexts(n *yaml.Node) {
	if n.Tag == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, child := range n.Content {
		timesAreTexts(child)
	}
}

// indented is text as the item of a list, so many spaces in.
func indented(text string, n int) string {
	pad := strings.Repeat(" ", n)
	return pad + "- " + strings.ReplaceAll(text, "\n", "\n"+pad+"  ") + "\n"
}

func withTrigger(text string) string {
	return "rules:\n  - id: a\n    actions: [{log: hi}]\n    triggers:\n" + indented(text, 6)
}

func withStep(text string) string {
	return "rules:\n  - id: a\n    triggers: [{event: custom.x}]\n    actions:\n" + indented(text, 6)
}

func withCondition(text string) string {
	return "rules:\n  - id: a\n    triggers: [{event: custom.x}]\n    actions: [{log: hi}]\n    conditions:\n" + indented(text, 6)
}

func withRule(text string) string {
	return "rules:\n  - id: a\n    triggers: [{event: custom.x}]\n    actions: [{log: hi}]\n    " + strings.ReplaceAll(text, "\n", "\n    ") + "\n"
}

func TestSchemaTakesTheExamplesOfTheLanguage(t *testing.T) {
	schema := fileSchema(t)
	files := map[string]func(string) string{
		"trigger.": withTrigger, "modifier": withTrigger, "condition.": withCondition, "step.": withStep,
		"unless": func(text string) string {
			return withTrigger("event: custom.x\nunless:\n  " + strings.ReplaceAll(text, "\n", "\n  "))
		},
		"group": func(text string) string {
			return withTrigger("event: custom.x\ngroup:\n  " + strings.ReplaceAll(text, "\n", "\n  "))
		},
		"retry": func(text string) string {
			return withStep("log: hi\nretry:\n  " + strings.ReplaceAll(text, "\n", "\n  "))
		},
		"rule":    func(text string) string { return "rules:\n" + indented(text, 2) },
		"kind":    func(text string) string { return "kinds:\n" + indented(text, 2) },
		"silence": func(text string) string { return "silences:\n" + indented(text, 2) },
		"retention": func(text string) string {
			return "retention:\n  " + strings.ReplaceAll(text, "\n", "\n  ") + "\n"
		},
	}
	for _, p := range rules.Describe().Places {
		if p.Example == "" {
			continue
		}
		prefix, _, below := strings.Cut(p.Name, ".")
		if below {
			prefix += "."
		}
		in, ok := files[prefix]
		if !ok {
			t.Errorf("%s: nobody knows where its example stands", p.Name)
			continue
		}
		if err := validate(t, schema, in(p.Example)); err != nil {
			t.Errorf("%s: %v\n%s", p.Name, err, in(p.Example))
		}
	}
}

func TestSchemaTakesGoodFiles(t *testing.T) {
	schema := fileSchema(t)
	for i, text := range []string{
		"", "rules:", "rules: []\nkinds:\nsilences:\nretention:", "probes:", "probes: [{name: web, url: https://example.com, every: 1h}]",
		"retention: {runs: {keep: forever}, events: {max: 3, kinds: {\"\": {keep: 1d12h}, rule: {max: 1}}}}",
		withTrigger("event: satellite.*"), withTrigger("event: webhook.deploys"), withTrigger("event: backup.missed\nenabled: false\nid: \"1\""),
		withTrigger("event: satellite.connected\nunless: {event: satellite.heartbeat_lost, within: 2m, where: event.payload.region == \"eu\"}"),
		withTrigger("event: satellite.connected\ngroup: {wait: 30s}"),
		withTrigger("state: satellite.status"), withTrigger("state: satellite.status\nto: null"), withTrigger("state: satellite.status\nfrom: [online, null]\nfor: \"${{ vars.grace }}\""),
		withTrigger("state: satellite.status\nnot_from: online\nnot_to: [offline]\nentity: [s1, s2]\ninitial: true\ncount: 2\nwithin: 1h\nrefire: once"),
		withTrigger("state: backup.status\nto: 3"), withTrigger("state: ticket.labels\nto: {a: b}"), withTrigger("state: ticket.watchers\nto: []\nfrom: [a]"),
		withTrigger("numeric: ticket.priority\nbelow: 3\nreset: 4.5\nentity: t1\ngroup: {by: event.entity.id, wait: 1m}"),
		withTrigger("numeric: backup.size_mb\nabove: 1\nbelow: 2"),
		withTrigger("becomes: entity.state.priority > 3\nkind: ticket\nfor: 1d12h\ninitial: true"), withTrigger("becomes: true\nkind: backup"),
		withTrigger("cron: \"@hourly\"\nmisfire: all"), withTrigger("cron: 30 2 * * *\njitter: 5m\nwhere: event.payload.missed == 0"),
		withTrigger("every: 1h30m\nmisfire: skip"), withTrigger("webhook: a\nmethods: [POST, PUT]"),
		withTrigger("absent: custom.x\nfor: 1d\nsince: start"), withTrigger("manual: true"),
		withTrigger("all:\n  - {event: custom.x, where: event.depth == 0}\n  - {numeric: ticket.cost, above: 3}\n  - {becomes: entity.state.priority > 3, kind: ticket}\nwithin: 1h\nby: event.entity.id"),
		withCondition("true"), withCondition("any: [{all: [event.depth == 0, {none: [event.depth == 1]}]}, {time: {weekdays: [sat, sun]}}]"), withCondition("time: {after: \"22:00:30\"}"),
		withStep("http: {url: https://example.com, retries: \"${{ vars.n }}\", headers: \"${{ vars.h }}\", json: [1, {a: b}]}\ntimeout: 10s\nid: page\nif: event.depth == 0\non_error: continue\nenabled: false\nname: Page"),
		withStep("http: ${{ vars.request }}"), withStep("wait: {until: \"${{ now() }}\"}"), withStep("wait: ${{ vars.grace }}"), withStep("wait: {until: 2030-01-31T12:00:00Z}"),
		withStep("choose: [{when: event.depth == 0, do: []}]\nelse: []"), withStep("log: hi\ntimeout: 5s\nretry: {attempts: 3, backoff: 1s, max_backoff: 1d}"),
		withStep("repeat: {times: \"${{ vars.n }}\"}\ndo: [{log: \"${{ item }}\"}]\nmax: 5000"), withStep("repeat: {until: \"true\"}\ndo: []"), withStep("parallel: [[], [{log: hi}]]"),
		withStep("wait_for: {event: custom.*, where: event.depth == 0}\ntimeout: ${{ vars.t }}\non_timeout: fail"), withStep("wait_for: {condition: \"true\"}"),
		withStep("stop: done\noutcome: failure"), withStep("run: other\ninputs: {a: [1]}"), withStep("silence: {match: \"true\", end: 2030-01-31T12:00:00Z, id: a, reason: b}"), withStep("unsilence: a"),
		withRule("retry: {attempts: 3}"),
		withStep("update: {kind: ticket, id: t1, set: {status: closed, priority: \"${{ 3 }}\", labels: {a: 1}, budget: 3d}}"), withStep("update: {kind: backup, id: t1, set: {anything: 1}}"),
		withRule("mode: queued\nmax: 3\nper: rule\ncooldown: 15m\nname: A\ndescription: B\ntags: [c]\nenabled: true\nvariables: {a: {b: [1]}}"),
		withRule("mode: restart\nper: event.payload.region"),
		"kinds:\n  - name: a\n    fields: {b: {type: integer, minimum: 1, maximum: 3, default: 2, doc: x}, c: {type: list}}\n    events: [{name: a.b, when: change.next.b > 2}]",
		"silences: [{id: a, match: event.depth == 0, end: 2030-01-31T12:00:00+01:00, reason: b}]",
	} {
		if err := validate(t, schema, text); err != nil {
			t.Errorf("%d: %v\n%s", i, err, text)
		}
	}
	names, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".bad.yaml") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, schema, string(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := fileSchema(t)
	for i, text := range []string{
		"rule: []", "- rules", withTrigger("event: [a.b]"), withTrigger("event: custom.x\nfor: 5m"), withTrigger("event: custom.x\ninitial: true"),
		withTrigger("event: custom.x\ncount: 3"), withTrigger("event: custom.x\nwithin: 3m"), withTrigger("event: custom.x\ncount: 1\nwithin: 3m"),
		withTrigger("state: satellite.status\nto: a\nnot_to: b"), withTrigger("state: satellite.status\nto: dark"), withTrigger("state: satellite.last_seen_at"),
		withTrigger("state: satellite.status\nfor: 5m\nunless: {event: custom.x, within: 5m}"),
		withTrigger("numeric: ticket.priority"), withTrigger("numeric: ticket.status\nabove: 3"), withTrigger("becomes: entity.id == \"a\""),
		withTrigger("cron: 0 0 8 * * *"), withTrigger("cron: \"@every 5m\""), withTrigger("cron: 0 8 * * *\nmisfire: some"), withTrigger("every: 5"),
		withTrigger("webhook: Deploys"), withTrigger("webhook: a\nmethods: [HEAD]"), withTrigger("absent: custom.x"), withTrigger("absent: custom.x\nfor: 5m\nsince: now"),
		withTrigger("manual: false"), withTrigger("manual: true\ninputs: {a: {type: text}}"), withTrigger("manual: true\ninputs: {a: {enum: [a]}}"),
		withTrigger("all: [{event: custom.x}]\nwithin: 5m"), withTrigger("all: [{event: custom.x}, {event: custom.y}]"),
		withTrigger("all: [{event: custom.x}, {cron: 0 8 * * *}]\nwithin: 5m"), withTrigger("all: [{event: custom.x}, {state: ticket.cost, for: 5m}]\nwithin: 5m"),
		withTrigger("event: custom.x\ngroup: {by: event.id}"), withTrigger("event: custom.x\ngroup: {wait: 5m, max: 0}"), withTrigger("event: custom.x\nunless: {event: custom.y}"),
		withCondition("any: []"), withCondition("any: [true]\nall: [true]"), withCondition("time: {}"), withCondition("time: {after: \"25:00\"}"), withCondition("time: {weekdays: [monday]}"),
		withCondition("${{ true }}"), withStep("log: hi\nretry: {attempts: 0}"), withStep("log: hi\nretry: {backoff: 3s}"), withStep("repeat: {times: 3}"), withStep("repeat: {}\ndo: []"),
		withStep("repeat: {times: 3, until: \"true\"}\ndo: []"), withStep("parallel: [{log: hi}]"), withStep("parallel: []"), withStep("wait_for: {}"),
		withStep("wait_for: {event: custom.x, condition: \"true\"}"), withStep("wait_for: {condition: \"true\"}\non_timeout: fail"), withStep("stop: done\noutcome: maybe"),
		withStep("run: [a]"), withStep("silence: {match: \"true\"}"), withStep("silence: {for: 1h}"), withRule("retry: {}"),
		withRule("mode: several"), withRule("max: 0"), withRule("cooldown: 15"), withRule("variables: {a b: 1}"), withRule("per: 3"),
		"kinds: [{name: Backup, fields: {}}]", "kinds: [{name: backup}]", "silences: [{id: a, match: event.depth == 0, end: tomorrow, reason: b}]", "silences: [{id: a}]",
	} {
		if err := validate(t, schema, text); err == nil {
			t.Errorf("%d is valid:\n%s", i, text)
		}
	}
}

// onlyTheChecker are the mistakes that a schema cannot see: those in what
// expressions say, in what stands in two places, and in what depends on the
// rest of the files.
var onlyTheChecker = []string{
	// expressions and templates
	"condition-outside-the-run", "condition-unknown-field", "condition-unknown-field-of-a-change", "condition-unknown-function", "empty-template",
	"held-passive-field", "http-unknown-field-in-a-template", "http-wrong-type-of-a-template", "if-is-no-boolean", "no-variables", "since-unknown-field",
	"state-function-unknown-field", "state-function-unknown-kind", "state-function-with-hard-arguments", "syntax-of-an-expression", "transitions-bad-window",
	"transitions-unknown-kind-through-a-pipe", "transitions-window-is-a-number", "unknown-output", "unknown-step", "unknown-variable", "unterminated-template",
	"variables-see-each-other", "wait-for-a-time", "wait-until-a-number", "where-compares-text-with-number", "where-is-no-boolean",
	"where-on-a-change-has-no-payload", "where-sees-what-set-stores", "where-unknown-field", "where-unknown-field-in-a-function",
	// what stands in two places
	"duplicate-id", "duplicate-id-in-two-files", "duplicate-step-id", "duplicate-trigger-id", "section-in-two-files", "trigger-id-is-a-position",
	// names that another file may declare
	"names-of-bad-items", "names-of-items", "names-of-no-items", "one-trigger-of-two", "state-of-unknown-kind", "unknown-event", "unknown-event-like-none", "update-unknown-kind",
	// what an action checks itself
	"http-bad-url", "http-excluded",
	// Expressions, numbers that are compared with each other, and names that other files may declare.
	"bad-per", "event-pattern", "events-without-a-group", "for-is-a-template", "function-misused",
	"kind-default-does-not-fit", "kind-event-twice", "kind-fields-are-empty", "kind-in-two-files", "kind-of-a-plugin",
	"kind-of-the-engine", "kind-payload-mistakes", "kind-rule-on-its-event", "kind-stale-at-once",
	"kind-stale-required-to-null", "kind-stale-set-does-not-fit", "kind-when-sees-no-functions",
	"kind-when-unknown-field", "kind-when-wrong-type", "manual-unknown-input", "max-without-mode",
	"numeric-nothing-inside", "numeric-reset", "item-outside-of-a-loop", "secret-in-a-log", "retention-in-two-files", "retention-unknown-names",
}

func TestSchemaRefusesWhatTheCheckerRefuses(t *testing.T) {
	schema := fileSchema(t)
	cases, err := filepath.Glob("testdata/*.bad*")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, path := range cases {
		name, ok := strings.CutSuffix(strings.TrimSuffix(filepath.Base(path), ".yaml"), ".bad")
		if !ok {
			continue // the expectations
		}
		found[name] = true
		err := validateAll(t, schema, source(t, path))
		switch unseen := slices.Contains(onlyTheChecker, name); {
		case err == nil && !unseen:
			t.Errorf("%s is valid", name)
		case err != nil && unseen:
			t.Errorf("%s is refused, though only the checker should see its mistake: %v", name, err)
		}
	}
	for _, name := range onlyTheChecker {
		if !found[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

// validateAll gives the first mistake of the files of a folder.
func validateAll(t *testing.T, schema *jsonschema.Schema, all fs.FS) error {
	t.Helper()
	var first error
	err := fs.WalkDir(all, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(all, name)
		if err != nil {
			return err
		}
		if err := validate(t, schema, string(text)); err != nil && first == nil {
			first = fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return first
}

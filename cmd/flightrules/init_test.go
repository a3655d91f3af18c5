package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

func TestInit(t *testing.T) {
	t.Chdir(t.TempDir())
	out, errs, code := run(t, "init", "mine")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	golden(t, "init.txt", filepath.ToSlash(out))
	t.Run("the rules pass the check", func(t *testing.T) {
		if out, errs, code := run(t, "check", "mine"); code != 0 || out != "ok: 2 rules\n" {
			t.Errorf("exit %d: %s%s", code, out, errs)
		}
	})
	t.Run("the rules name the schema and fit it", func(t *testing.T) {
		text := read(t, filepath.Join("mine", "rules.yaml"))
		first, _, _ := strings.Cut(text, "\n")
		name, ok := strings.CutPrefix(first, "# yaml-language-server: $schema=./")
		if !ok {
			t.Fatalf("the first line is %q", first)
		}
		schema, err := jsonschema.NewCompiler().Compile(filepath.Join("mine", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(plainYAML(t, text)); err != nil {
			t.Error(err)
		}
	})
	t.Run("nothing is written twice", func(t *testing.T) {
		write(t, filepath.Join("mine", "rules.yaml"), "rules: []\n")
		if err := os.Remove(filepath.Join("mine", "README.md")); err != nil {
			t.Fatal(err)
		}
		_, errs, code := run(t, "init", "mine")
		want := "flightrules: nothing was written: there is already mine/rules.yaml, mine/rules.test.yaml, mine/.flightrules.schema.json, mine/.flightrules-test.schema.json\n"
		if diff := cmp.Diff(want, filepath.ToSlash(errs)); diff != "" || code != 1 {
			t.Errorf("exit %d: %s", code, diff)
		}
		if got := read(t, filepath.Join("mine", "rules.yaml")); got != "rules: []\n" {
			t.Errorf("the rules are %q now", got)
		}
		if _, err := os.Stat(filepath.Join("mine", "README.md")); err == nil {
			t.Error("the README was written")
		}
	})
	t.Run("a folder is not needed", func(t *testing.T) {
		t.Chdir(t.TempDir())
		if _, errs, code := run(t, "init"); code != 0 {
			t.Fatalf("exit %d: %s", code, errs)
		}
		read(t, "rules.yaml")
	})
}

// printedSchema is what flightrules schema prints, and that as it is.
func printedSchema(t *testing.T, flags ...string) (schema *jsonschema.Schema, out string) {
	t.Helper()
	out, errs, code := run(t, append([]string{"schema"}, flags...)...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("printed.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err = compiler.Compile("printed.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema, out
}

func TestSchema(t *testing.T) {
	schema, out := printedSchema(t)
	if !strings.Contains(out, `"satellite.heartbeat_lost"`) || !strings.Contains(out, `"step.http"`) {
		t.Error("the schema does not know the plugins")
	}
	if err := schema.Validate(plainYAML(t, good)); err != nil {
		t.Error(err)
	}
	if err := schema.Validate(plainYAML(t, bad)); err == nil {
		t.Error("the schema takes rules with mistakes")
	}
	examples, err := filepath.Glob(filepath.Join(here, "..", "..", "examples", "*", "*.yaml"))
	if err != nil || len(examples) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, name := range examples {
		if strings.HasSuffix(name, ".test.yaml") {
			continue
		}
		if err := schema.Validate(plainYAML(t, read(t, name))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// plainYAML is a file as a schema sees it.
func plainYAML(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

package ruletest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/flightrules/flightrules/internal/duration"
)

// title names a snapshot: the test, and the step by its name or its time.
func (p *parser) title(s step) string {
	if s.name != "" {
		return p.test.Name + " / " + s.name
	}
	return p.test.Name + " / " + duration.Format(s.at)
}

// snapshot is what was seen at a step.
type snapshot struct {
	step step
	text string
}

// snapshot is all that can be seen, as YAML.
func (p *player) snapshot(ctx context.Context) (string, error) {
	all := &yaml.Node{Kind: yaml.MappingNode}
	for _, key := range []string{"runs", "decisions", "actions", "logs", "events", "timers"} {
		rows, err := sights[key].rows(ctx, p)
		if err != nil {
			return "", err
		}
		if len(rows) > 0 {
			all.Content = append(all.Content, node(key), list(rows))
		}
	}
	text, err := yaml.Marshal(all)
	return string(text), err
}

// listing is some rows as YAML.
func listing(rows []map[string]any) (string, error) {
	text, err := yaml.Marshal(list(rows))
	return string(text), err
}

func list(rows []map[string]any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for _, row := range rows {
		n.Content = append(n.Content, node(row))
	}
	return n
}

// node is a value as YAML, its keys in the order in which they read well.
func node(v any) *yaml.Node {
	n := &yaml.Node{}
	switch v := v.(type) {
	case map[string]any:
		n.Kind = yaml.MappingNode
		for _, key := range order(v) {
			n.Content = append(n.Content, node(key), node(v[key]))
		}
	case []any:
		n.Kind = yaml.SequenceNode
		for _, one := range v {
			n.Content = append(n.Content, node(one))
		}
	default:
		if err := n.Encode(v); err != nil {
			n.SetString(fmt.Sprint(v))
		}
	}
	return n
}

// snapshotFile is where the snapshots of a file of tests stand.
func snapshotFile(tests string) string {
	return tests[:strings.LastIndex(tests, ".test.")] + ".test.snap"
}

func readSnapshots(files fs.FS, name string) (map[string]string, error) {
	text, err := fs.ReadFile(files, name)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	return all, yaml.Unmarshal(text, &all)
}

const snapshotHead = "# What flightrules test has seen. It is written by: flightrules test --update\n"

// writeSnapshots writes what differs from what there is.
func writeSnapshots(path string, before, after map[string]string) error {
	if maps.Equal(before, after) {
		return nil
	}
	if len(after) == 0 {
		return os.Remove(path)
	}
	text, err := yaml.Marshal(after)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte(snapshotHead), text...), 0o644)
}

// changed says how a snapshot differs, line by line.
func changed(want, got string) []string {
	if want == got {
		return nil
	}
	return append([]string{"the snapshot differs (- as it was, + as it is); flightrules test --update takes it as it is"}, lineDiff(lines(want), lines(got))...)
}

func lines(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

// lineDiff shows the lines that differ, with some around them.
func lineDiff(a, b []string) []string {
	const around = 2
	start := 0
	for start < min(len(a), len(b)) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < min(len(a), len(b))-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	var out []string
	for _, line := range a[max(0, start-around):start] {
		out = append(out, "    "+line)
	}
	for _, line := range a[start : len(a)-end] {
		out = append(out, "  - "+line)
	}
	for _, line := range b[start : len(b)-end] {
		out = append(out, "  + "+line)
	}
	for _, line := range a[len(a)-end : min(len(a), len(a)-end+around)] {
		out = append(out, "    "+line)
	}
	return slices.Clip(out)
}

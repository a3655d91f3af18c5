package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/flightrules/flightrules/internal/client"
)

// history is a command that lists a log, newest first, or follows it.
type history struct {
	remote

	path, topic string            // of the list, and of the stream
	names       map[string]string // the flags that narrow it, by the parameter of the API
	streamed    []string          // those parameters that the stream knows too
	values      map[string]*string
	limit       int
	follow      bool
	line        func(w io.Writer, item json.RawMessage) error
	head        string
}

func (h *history) build(cmd *cobra.Command) *cobra.Command {
	cmd = h.command(cmd, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		if h.limit < 1 {
			return misused(cmd, errors.New("--limit is at least 1"))
		}
		if h.follow {
			return h.following(cmd, c)
		}
		items, more, err := c.First(cmd.Context(), h.path+"?"+h.query(nil).Encode(), h.limit)
		if err != nil {
			return err
		}
		if err := show(&h.remote, cmd.OutOrStdout(), items, h.table); err != nil || !more || h.output != "text" {
			return err
		}
		_, err = fmt.Fprintf(cmd.ErrOrStderr(), "there are more than %d: see --limit\n", h.limit)
		return err
	})
	h.values = map[string]*string{}
	for _, name := range slices.Sorted(maps.Keys(h.names)) {
		h.values[name] = cmd.Flags().String(name, "", h.names[name])
	}
	cmd.Flags().IntVar(&h.limit, "limit", 50, "at most so many")
	cmd.Flags().BoolVarP(&h.follow, "follow", "f", false, "show what happens from now on, until it is interrupted")
	return cmd
}

// query is what was asked for; of some parameters only, if there are any.
func (h *history) query(only []string) url.Values {
	query := url.Values{}
	for name, value := range h.values {
		if *value != "" && (only == nil || slices.Contains(only, name)) {
			query.Set(name, *value)
		}
	}
	return query
}

// following prints each item as it comes: a line, or a line of JSON.
func (h *history) following(cmd *cobra.Command, c *client.Client) error {
	for name, value := range h.values {
		if *value != "" && !slices.Contains(h.streamed, name) {
			return misused(cmd, fmt.Errorf("--%s does not go with -f", name))
		}
	}
	query := h.query(h.streamed)
	if entity := query.Get("entity"); entity != "" { // the stream calls it by its other name
		query.Del("entity")
		query.Set("id", entity)
	}
	query.Set("topics", h.topic)
	out := cmd.OutOrStdout()
	return c.Follow(cmd.Context(), query, func(m client.Message) error {
		if h.output == "json" {
			_, err := fmt.Fprintf(out, "%s\n", m.Data)
			return err
		}
		return h.line(out, m.Data)
	})
}

func (h *history) table(w io.Writer, items []json.RawMessage) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, h.head)
	for _, item := range items {
		if err := h.line(table, item); err != nil {
			return err
		}
	}
	return table.Flush()
}

// columns prints what is decoded of an item as a line with tabs.
func columns[T any](cells func(T) []string) func(w io.Writer, item json.RawMessage) error {
	return func(w io.Writer, item json.RawMessage) error {
		var v T
		if err := json.Unmarshal(item, &v); err != nil {
			return err
		}
		_, err := fmt.Fprintln(w, strings.Join(cells(v), "\t"))
		return err
	}
}

// whatChanged is what a transition changed, in one line.
func whatChanged(t client.Transition) string {
	var parts []string
	if t.Removed {
		parts = append(parts, "removed")
	}
	for _, field := range slices.Sorted(maps.Keys(t.Changes)) {
		parts = append(parts, fmt.Sprintf("%s: %s -> %s", field, inShort(t.Changes[field][0]), inShort(t.Changes[field][1])))
	}
	return oneLine(strings.Join(parts, ", "), 200)
}

// inShort is a value in a line.
func inShort(value any) string {
	switch v := value.(type) {
	case nil:
		return "-"
	case string:
		return v
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

func transitionsCommand() *cobra.Command {
	h := &history{
		path: "/api/v1/transitions", topic: "transition", streamed: []string{"kind", "id"}, head: "TIME\tENTITY\tCHANGES\tBY",
		names: map[string]string{
			"kind": "only of entities of a kind", "id": "only of the entity with an id", "field": "only where a field changed", "actor": "only by whom, such as token:admin",
			"run": "only what a run changed", "from": "not before a time, such as 2030-01-31T12:00:00Z", "to": "before a time",
		},
		line: columns(func(t client.Transition) []string {
			return []string{clock(t.At), t.Kind + "/" + t.EntityID, whatChanged(t), t.Actor}
		}),
	}
	cmd := h.build(&cobra.Command{Use: "transitions", Short: "List what changed, newest first, or follow it with -f", Args: args(cobra.NoArgs)})
	cmd.AddCommand(exportTransitionsCommand())
	return cmd
}

func exportTransitionsCommand() *cobra.Command {
	var r remote
	var format, kind, id, from, to string
	cmd := r.command(&cobra.Command{
		Use: "export", Short: "Print all of the log, newest first, as CSV or NDJSON", Args: args(cobra.NoArgs),
	}, func(cmd *cobra.Command, c *client.Client, _ []string) error {
		query := url.Values{"format": {format}, "limit": {"10000000"}}
		for name, value := range map[string]string{"kind": kind, "id": id, "from": from, "to": to} {
			if value != "" {
				query.Set(name, value)
			}
		}
		return c.Download(cmd.Context(), "/api/v1/transitions/export?"+query.Encode(), cmd.OutOrStdout())
	})
	flags := cmd.Flags()
	flags.StringVar(&format, "format", "ndjson", "csv or ndjson")
	flags.StringVar(&kind, "kind", "", "only of entities of a kind")
	flags.StringVar(&id, "id", "", "only of the entity with an id")
	flags.StringVar(&from, "from", "", "not before a time, such as 2030-01-31T12:00:00Z")
	flags.StringVar(&to, "to", "", "before a time")
	return cmd
}

// about is the entity of an event.
func about(e client.Event) string {
	if e.Entity == nil {
		return "-"
	}
	return e.Entity.Kind + "/" + e.Entity.ID
}

func eventsCommand() *cobra.Command {
	h := &history{
		path: "/api/v1/events", topic: "event", streamed: []string{"kind", "entity"}, head: "TIME\tEVENT\tABOUT\tBY\tID",
		names: map[string]string{"name": "only of a name", "kind": "only about entities of a kind", "entity": "only about the entity with an id"},
		line: columns(func(e client.Event) []string {
			return []string{clock(e.At), e.Name, about(e), e.Actor, e.ID}
		}),
	}
	cmd := h.build(&cobra.Command{Use: "events", Short: "List what happened, newest first, or follow it with -f", Args: args(cobra.NoArgs)})
	cmd.AddCommand(eventsShowCommand(), eventsPostCommand())
	return cmd
}

func eventsShowCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "show EVENT", Short: "Show an event, and what was decided about it", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, ids []string) error {
			path := "/api/v1/events/" + url.PathEscape(ids[0])
			var event map[string]json.RawMessage
			if err := c.Get(cmd.Context(), path, &event); err != nil {
				return err
			}
			decisions, err := c.List(cmd.Context(), path+"/decisions")
			if err != nil {
				return err
			}
			event["decisions"] = decisions
			answer, err := json.Marshal(event)
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, e struct {
				client.Event

				Decisions []client.Decision `json:"decisions"`
			},
			) error {
				p := &printer{w: w}
				p.line("%s %s, by %s, about %s\nid: %s\npayload: %s", clock(e.At), e.Name, e.Actor, about(e.Event), e.ID, e.Payload)
				for _, d := range e.Decisions {
					p.line("%s %s: %s %s", clock(d.At), d.Rule, d.Outcome, d.Detail)
				}
				if len(e.Decisions) == 0 {
					p.line("no rule has matched it")
				}
				return p.err
			})
		})
}

func eventsPostCommand() *cobra.Command {
	var r remote
	var id, payload, entity string
	cmd := r.command(&cobra.Command{
		Use: "post NAME", Short: "Say that something happened", Args: args(cobra.ExactArgs(1)),
		Example: `  flightrules events post custom.deployed --payload deploy.json --id deploy-42`,
	}, func(cmd *cobra.Command, c *client.Client, names []string) error {
		body := map[string]any{"name": names[0]}
		if id != "" {
			body["id"] = id
		}
		if entity != "" {
			kind, entityID, ok := strings.Cut(entity, "/")
			if !ok {
				return misused(cmd, fmt.Errorf("--entity is KIND/ID, not %q", entity))
			}
			body["entity"] = map[string]string{"kind": kind, "id": entityID}
		}
		if payload != "" {
			value, err := valueIn(cmd.InOrStdin(), payload)
			if err != nil {
				return err
			}
			body["payload"] = value
		}
		var answer json.RawMessage
		if err := c.Post(cmd.Context(), "/api/v1/events", body, &answer); err != nil {
			return err
		}
		return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, e client.Event) error {
			_, err := fmt.Fprintf(w, "event %s: %s\n", e.ID, e.Name)
			return err
		})
	})
	cmd.Flags().StringVar(&id, "id", "", "yours: an event of that id happens once, however often it is sent")
	cmd.Flags().StringVar(&payload, "payload", "", "a file of JSON or YAML; - for standard input")
	cmd.Flags().StringVar(&entity, "entity", "", "what it is about, as KIND/ID")
	return cmd
}

// valueIn reads a value from a file of JSON or YAML.
func valueIn(stdin io.Reader, path string) (value any, err error) {
	text, err := contents(stdin, path)
	if err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, &value); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return value, nil
}

func decisionsCommand() *cobra.Command {
	h := &history{
		path: "/api/v1/decisions", topic: "decision", streamed: []string{"rule"}, head: "TIME\tRULE\tOUTCOME\tDETAIL\tEVENT",
		names: map[string]string{"rule": "only of a rule", "event": "only about an event, by its id", "outcome": "only of an outcome, such as started"},
		line: columns(func(d client.Decision) []string {
			return []string{clock(d.At), d.Rule, d.Outcome, oneLine(d.Detail, 100), d.EventID}
		}),
	}
	return h.build(&cobra.Command{Use: "decisions", Short: "List what became of every match, newest first, or follow it with -f", Args: args(cobra.NoArgs)})
}

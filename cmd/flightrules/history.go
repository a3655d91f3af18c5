package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

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
	return c.Follow(cmd.Context(), query, nil, func(m client.Message) error {
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

type shownTransition struct {
	At       time.Time         `json:"at"`
	Kind     string            `json:"kind"`
	EntityID string            `json:"entity_id"`
	Version  int64             `json:"version"`
	Changes  map[string][2]any `json:"changes"`
	Removed  bool              `json:"removed"`
	Actor    string            `json:"actor"`
}

func (t shownTransition) what() string {
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
		line: columns(func(t shownTransition) []string {
			return []string{clock(t.At), t.Kind + "/" + t.EntityID, t.what(), t.Actor}
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

type shownEvent struct {
	ID     string    `json:"id"`
	Name   string    `json:"name"`
	At     time.Time `json:"at"`
	Entity *struct {
		Kind string `json:"kind"`
		ID   string `json:"id"`
	} `json:"entity"`
	Payload json.RawMessage `json:"payload"`
	Actor   string          `json:"actor"`
}

func (e shownEvent) about() string {
	if e.Entity == nil {
		return "-"
	}
	return e.Entity.Kind + "/" + e.Entity.ID
}

func eventsCommand() *cobra.Command {
	h := &history{
		path: "/api/v1/events", topic: "event", streamed: []string{"kind", "entity"}, head: "TIME\tEVENT\tABOUT\tBY\tID",
		names: map[string]string{"name": "only of a name", "kind": "only about entities of a kind", "entity": "only about the entity with an id"},
		line: columns(func(e shownEvent) []string {
			return []string{clock(e.At), e.Name, e.about(), e.Actor, e.ID}
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
				shownEvent

				Decisions []shownDecision `json:"decisions"`
			},
			) error {
				p := &printer{w: w}
				p.line("%s %s, by %s, about %s\nid: %s\npayload: %s", clock(e.At), e.Name, e.Actor, e.about(), e.ID, e.Payload)
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
		return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, e shownEvent) error {
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

type shownDecision struct {
	At      time.Time `json:"at"`
	Rule    string    `json:"rule"`
	Outcome string    `json:"outcome"`
	Detail  string    `json:"detail"`
	EventID string    `json:"event_id"`
	RunID   *string   `json:"run_id"`
}

func decisionsCommand() *cobra.Command {
	h := &history{
		path: "/api/v1/decisions", topic: "decision", streamed: []string{"rule"}, head: "TIME\tRULE\tOUTCOME\tDETAIL\tEVENT",
		names: map[string]string{"rule": "only of a rule", "event": "only about an event, by its id", "outcome": "only of an outcome, such as started"},
		line: columns(func(d shownDecision) []string {
			return []string{clock(d.At), d.Rule, d.Outcome, oneLine(d.Detail, 100), d.EventID}
		}),
	}
	return h.build(&cobra.Command{Use: "decisions", Short: "List what became of every match, newest first, or follow it with -f", Args: args(cobra.NoArgs)})
}

type shownEntity struct {
	Kind      string         `json:"kind"`
	ID        string         `json:"id"`
	Version   int64          `json:"version"`
	State     map[string]any `json:"state"`
	UpdatedAt time.Time      `json:"updated_at"`
}

func entityPath(kind, id string) string {
	return "/api/v1/entities/" + url.PathEscape(kind) + "/" + url.PathEscape(id)
}

func entitiesCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "entities", Short: "List, show, set and remove entities"}
	cmd.AddCommand(entitiesListCommand(), entitiesShowCommand(), entitiesSetCommand(), entitiesRemoveCommand())
	return cmd
}

func entitiesListCommand() *cobra.Command {
	var r remote
	var search, status string
	var limit int
	cmd := r.command(&cobra.Command{Use: "list KIND", Short: "List the entities of a kind", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, kinds []string) error {
			query := url.Values{"kind": {kinds[0]}, "search": {search}, "status": {status}}
			items, more, err := c.First(cmd.Context(), "/api/v1/entities?"+query.Encode(), limit)
			if err != nil {
				return err
			}
			err = show(&r, cmd.OutOrStdout(), items, func(w io.Writer, list []shownEntity) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "ID\tNAME\tSTATUS\tCHANGED")
				for _, e := range list {
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", e.ID, inShort(e.State["name"]), inShort(e.State["status"]), clock(e.UpdatedAt))
				}
				return table.Flush()
			})
			if err == nil && more && r.output == "text" {
				fmt.Fprintf(cmd.ErrOrStderr(), "there are more than %d: see --limit\n", limit)
			}
			return err
		})
	cmd.Flags().StringVar(&search, "search", "", "only those with a text in the id or the name")
	cmd.Flags().StringVar(&status, "status", "", "only those whose field status is that")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	return cmd
}

func entitiesShowCommand() *cobra.Command {
	var r remote
	var at string
	cmd := r.command(&cobra.Command{Use: "show KIND ID", Short: "Show an entity, now or at a time", Args: args(cobra.ExactArgs(2))},
		func(cmd *cobra.Command, c *client.Client, names []string) error {
			path := entityPath(names[0], names[1])
			if at != "" {
				path += "?at=" + url.QueryEscape(at)
			}
			var answer json.RawMessage
			if err := c.Get(cmd.Context(), path, &answer); err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, e shownEntity) error {
				p := &printer{w: w}
				p.line("%s %s, version %d, changed %s", e.Kind, e.ID, e.Version, clock(e.UpdatedAt))
				for _, field := range slices.Sorted(maps.Keys(e.State)) {
					p.line("  %s: %s", field, inShort(e.State[field]))
				}
				return p.err
			})
		})
	cmd.Flags().StringVar(&at, "at", "", "as it was recorded at a time, such as 2030-01-31T12:00:00Z")
	return cmd
}

func entitiesSetCommand() *cobra.Command {
	var r remote
	var merge bool
	cmd := r.command(&cobra.Command{
		Use: "set KIND ID FILE", Short: "Make an entity of a kind that the engine keeps, or replace its state", Args: args(cobra.ExactArgs(3)),
		Long: "Makes an entity of a kind that the engine keeps, or replaces its state, by a file of JSON or YAML; - is\nstandard input. With --merge only the fields of the file change; null takes one away.",
	}, func(cmd *cobra.Command, c *client.Client, names []string) error {
		state, err := valueIn(cmd.InOrStdin(), names[2])
		if err != nil {
			return err
		}
		put := c.Put
		if merge {
			put = c.Patch
		}
		if err := put(cmd.Context(), entityPath(names[0], names[1]), state); err != nil {
			return err
		}
		return r.did(cmd, "set", names[0], names[1])
	})
	cmd.Flags().BoolVar(&merge, "merge", false, "change only the fields that are given")
	return cmd
}

func entitiesRemoveCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "remove KIND ID", Short: "Remove an entity of a kind that the engine keeps; its history stays", Args: args(cobra.ExactArgs(2))},
		func(cmd *cobra.Command, c *client.Client, names []string) error {
			if err := c.Delete(cmd.Context(), entityPath(names[0], names[1])); err != nil {
				return err
			}
			return r.did(cmd, "removed", names[0], names[1])
		})
}

func overviewCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "overview", Short: "Show what there is, in numbers, and whether the engine is ready", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			var answer json.RawMessage
			if err := c.Get(cmd.Context(), "/api/v1/overview", &answer); err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, printOverview)
		})
}

func printOverview(w io.Writer, o struct {
	Version string
	Kinds   []struct {
		Name     string
		Count    int64
		Statuses map[string]int64
	}
	Rules struct{ Count, Enabled, Paused, Problems int }
	Runs  struct{ Queued, Running, Waiting, Dead int64 }
	Ready struct {
		Status string
		Checks []struct {
			Name  string
			Error *string
		}
	}
},
) error {
	p := &printer{w: w}
	p.line("engine: %s, %s", o.Version, o.Ready.Status)
	for _, check := range o.Ready.Checks {
		if check.Error != nil {
			p.line("  %s: %s", check.Name, *check.Error)
		}
	}
	for _, k := range o.Kinds {
		var by []string
		for _, status := range slices.Sorted(maps.Keys(k.Statuses)) {
			if status != "" {
				by = append(by, strconv.FormatInt(k.Statuses[status], 10)+" "+status)
			}
		}
		p.line("%s: %d  %s", k.Name, k.Count, strings.Join(by, ", "))
	}
	p.line("rules: %d, %d enabled, %d paused, %d problems of the files", o.Rules.Count, o.Rules.Enabled, o.Rules.Paused, o.Rules.Problems)
	p.line("runs: %d queued, %d running, %d waiting, %d given up", o.Runs.Queued, o.Runs.Running, o.Runs.Waiting, o.Runs.Dead)
	return p.err
}

func auditCommand() *cobra.Command {
	var r remote
	var limit int
	cmd := r.command(&cobra.Command{Use: "audit", Short: "List every write that came in by HTTP, newest first", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			items, _, err := c.First(cmd.Context(), "/api/v1/audit", limit)
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), items, func(w io.Writer, list []struct {
				At                          time.Time
				Actor, Method, Path, Remote string
				Status                      *int
			},
			) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "TIME\tWHO\tWHAT\tFROM\tSTATUS")
				for _, e := range list {
					status := "-"
					if e.Status != nil {
						status = strconv.Itoa(*e.Status)
					}
					fmt.Fprintf(table, "%s\t%s\t%s %s\t%s\t%s\n", clock(e.At), e.Actor, e.Method, e.Path, e.Remote, status)
				}
				return table.Flush()
			})
		})
	cmd.Flags().IntVar(&limit, "limit", 50, "at most so many")
	return cmd
}

type shownToken struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Role      string     `json:"role"`
	ExpiresAt *time.Time `json:"expires_at"`
	LastUsed  *time.Time `json:"last_used"`
	Token     string     `json:"token"`
}

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make, list and revoke tokens of the API and the pages"}
	cmd.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return cmd
}

func tokenCreateCommand() *cobra.Command {
	var r remote
	var role, ends, file string
	cmd := r.command(&cobra.Command{
		Use: "create NAME", Short: "Make a token, which is shown this once", Args: args(cobra.ExactArgs(1)),
		Example: "  flightrules token create grafana --role viewer --ends 90d",
	}, func(cmd *cobra.Command, c *client.Client, names []string) error {
		body := map[string]any{"name": names[0], "role": role}
		if ends != "" {
			after, at, err := moment(ends)
			if err != nil {
				return misused(cmd, fmt.Errorf("--ends %w", err))
			}
			if after > 0 {
				at = time.Now().Add(after)
			}
			body["expires_at"] = at.UTC().Format(time.RFC3339)
		}
		var answer json.RawMessage
		if err := c.Post(cmd.Context(), "/api/v1/tokens", body, &answer); err != nil {
			return err
		}
		return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, t shownToken) error {
			if file != "" {
				if err := os.WriteFile(file, []byte(t.Token+"\n"), 0o600); err != nil {
					return errors.Join(err, c.Delete(cmd.Context(), "/api/v1/tokens/"+url.PathEscape(t.ID)))
				}
				_, err := fmt.Fprintf(w, "the token of %s is in %s\n", t.Name, file)
				return err
			}
			_, err := fmt.Fprintln(w, t.Token)
			return err
		})
	})
	cmd.Flags().StringVar(&role, "role", "viewer", "viewer, operator, admin or hook")
	cmd.Flags().StringVar(&ends, "ends", "", "when it ends: after a while, such as 90d, or at a time (default: never)")
	cmd.Flags().StringVar(&file, "file", "", "write it to a file, mode 0600, instead of printing it")
	return cmd
}

func tokenListCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "list", Short: "List the tokens", Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			answer, err := c.List(cmd.Context(), "/api/v1/tokens")
			if err != nil {
				return err
			}
			return show(&r, cmd.OutOrStdout(), answer, func(w io.Writer, list []shownToken) error {
				table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "NAME\tROLE\tENDS\tLAST USED\tID")
				for _, t := range list {
					fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", t.Name, t.Role, orNever(t.ExpiresAt), orNever(t.LastUsed), t.ID)
				}
				return table.Flush()
			})
		})
}

func orNever(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return clock(*t)
}

func tokenRevokeCommand() *cobra.Command {
	var r remote
	return r.command(&cobra.Command{Use: "revoke NAME", Short: "Revoke a token, by its name or its id, at once", Args: args(cobra.ExactArgs(1))},
		func(cmd *cobra.Command, c *client.Client, names []string) error {
			answer, err := c.List(cmd.Context(), "/api/v1/tokens")
			if err != nil {
				return err
			}
			var list []shownToken
			if err := json.Unmarshal(answer, &list); err != nil {
				return err
			}
			i := slices.IndexFunc(list, func(t shownToken) bool { return t.Name == names[0] || t.ID == names[0] })
			if i < 0 {
				return fmt.Errorf("there is no token %s", names[0])
			}
			if err := c.Delete(cmd.Context(), "/api/v1/tokens/"+url.PathEscape(list[i].ID)); err != nil {
				return err
			}
			return r.did(cmd, "revoked", "token", names[0])
		})
}

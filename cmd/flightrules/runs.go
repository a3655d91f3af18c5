package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/client"
	"github.com/flightrules/flightrules/internal/duration"
)

// shownRun is what is printed of a run.
type shownRun struct{ client.Run }

func (r shownRun) ended() bool { return r.FinishedAt != nil }

// state is the status, with what else there is to know at a glance.
func (r shownRun) state() string {
	switch {
	case r.Dead:
		return r.Status + " (dead)"
	case r.CancelAt != nil && !r.ended():
		return r.Status + " (asked to end)"
	}
	return r.Status
}

func (r shownRun) began() time.Time {
	if r.StartedAt != nil {
		return *r.StartedAt
	}
	return r.CreatedAt
}

func (r shownRun) took() string { return took(r.began(), r.FinishedAt) }

// took is how long something took that has ended; "-": it has not.
func took(from time.Time, to *time.Time) string {
	if to == nil {
		return "-"
	}
	d := to.Sub(from)
	if d > 100*time.Second {
		return duration.Format(d.Round(time.Second))
	}
	return duration.Format(d.Round(time.Millisecond))
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func runsCommand() *cobra.Command {
	cmd := runsListCommand("runs", "List, show, cancel and retry the runs of an engine")
	cmd.AddCommand(runsListCommand("list", "List runs, newest first"), runsShowCommand(), runsCancelCommand(), runsRetryCommand())
	return cmd
}

func runsListCommand(use, short string) *cobra.Command {
	var r remote
	var rule, status, event string
	var dead, follow bool
	var limit int
	cmd := r.command(&cobra.Command{Use: use, Short: short, Args: args(cobra.NoArgs)},
		func(cmd *cobra.Command, c *client.Client, _ []string) error {
			if limit < 1 {
				return misused(cmd, errors.New("--limit is at least 1"))
			}
			if follow {
				if status != "" || event != "" || dead {
					return misused(cmd, errors.New("only --rule goes with -f"))
				}
				return followRuns(cmd, &r, c, rule)
			}
			list, more, err := c.First(cmd.Context(), runsPath(rule, status, event, dead), limit)
			if err != nil {
				return err
			}
			if err := show(&r, cmd.OutOrStdout(), list, printRuns); err != nil || !more || r.output != "text" {
				return err
			}
			_, err = fmt.Fprintf(cmd.ErrOrStderr(), "there are more than %d: see --limit\n", limit)
			return err
		})
	flags := cmd.Flags()
	flags.StringVar(&rule, "rule", "", "only those of a rule")
	flags.StringVar(&status, "status", "", "only those that are queued, running, waiting, succeeded, failed or cancelled")
	flags.StringVar(&event, "event", "", "only those that an event began, by its id")
	flags.BoolVar(&dead, "dead", false, "only dead letters: those that failed for good")
	flags.IntVar(&limit, "limit", 50, "at most so many")
	flags.BoolVarP(&follow, "follow", "f", false, "show the statuses that runs take from now on, until it is interrupted")
	return cmd
}

// followRuns prints each status that a run takes, as it takes it.
func followRuns(cmd *cobra.Command, r *remote, c *client.Client, rule string) error {
	out := cmd.OutOrStdout()
	return c.Follow(cmd.Context(), url.Values{"topics": {"run"}, "rule": {rule}}, func(m client.Message) error {
		if r.output == "json" {
			_, err := fmt.Fprintf(out, "%s\n", m.Data)
			return err
		}
		var run client.RunChange
		if err := json.Unmarshal(m.Data, &run); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "%s\t%s\t%s\n", run.RunID, run.Rule, run.Status)
		return err
	})
}

func runsPath(rule, status, event string, dead bool) string {
	query := url.Values{}
	for name, value := range map[string]string{"rule": rule, "status": status, "event": event} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if dead {
		query.Set("dead", strconv.FormatBool(dead))
	}
	return "/api/v1/runs?" + query.Encode()
}

func runPath(id, verb string) string { return "/api/v1/runs/" + url.PathEscape(id) + verb }

func printRuns(w io.Writer, list []shownRun) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tRULE\tSTATUS\tBEGAN\tTOOK\tERROR")
	for _, run := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", run.ID, run.Rule, run.state(), clock(run.began()), run.took(), oneLine(run.Error, 80))
	}
	return table.Flush()
}

func runsShowCommand() *cobra.Command {
	var r remote
	var follow, full bool
	cmd := r.command(&cobra.Command{
		Use: "show RUN", Short: "Show a run with what each of its steps did",
		Long: "Shows a run with what each of its steps did, as a tree. -f goes on until the run has ended.", Args: args(cobra.ExactArgs(1)),
	}, func(cmd *cobra.Command, c *client.Client, ids []string) error {
		path := runPath(ids[0], "")
		if full {
			path += "?full=true"
		}
		out := cmd.OutOrStdout()
		t := tracer{printer: &printer{w: out}, palette: colours(out), shown: map[string]string{}}
		if follow {
			answer, err := t.follow(cmd.Context(), c, path, r.output == "text")
			if err != nil || r.output == "text" {
				return err
			}
			return show[shownRun](&r, out, answer, nil)
		}
		var answer json.RawMessage
		if err := c.Get(cmd.Context(), path, &answer); err != nil {
			return err
		}
		return show(&r, out, answer, func(_ io.Writer, run shownRun) error { return t.all(run) })
	})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show what happens until the run has ended; with -o json, wait for that")
	cmd.Flags().BoolVar(&full, "full", false, "with -o json: inputs and outputs whole, also those of more than 64 KiB")
	return cmd
}

func runsCancelCommand() *cobra.Command {
	var r remote
	var reason string
	cmd := r.command(&cobra.Command{
		Use: "cancel RUN", Short: "End a run",
		Long: "Ends a run. One that is being executed is asked to end, and is ended in any case after 30 s.", Args: args(cobra.ExactArgs(1)),
	}, func(cmd *cobra.Command, c *client.Client, ids []string) error {
		var answer json.RawMessage
		if err := c.Post(cmd.Context(), runPath(ids[0], "/cancel"), map[string]string{"reason": reason}, &answer); err != nil {
			return err
		}
		return show(&r, cmd.OutOrStdout(), answer, printState)
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why; shown as the run's error")
	return cmd
}

func printState(w io.Writer, run shownRun) error {
	_, err := fmt.Fprintf(w, "run %s of %s is %s\n", run.ID, run.Rule, run.state())
	return err
}

func runsRetryCommand() *cobra.Command {
	var r remote
	var rule string
	var dead, yes bool
	cmd := r.command(&cobra.Command{
		Use: "retry RUN | retry --dead", Short: "Have a run that failed go on from the step that did",
		Long: "Has a run that failed go on from the step that did: what has succeeded is not done again.\n" +
			"--dead does that with all that failed for good, oldest first, and asks before at a terminal.",
		Args: args(cobra.MaximumNArgs(1)),
	}, func(cmd *cobra.Command, c *client.Client, ids []string) error {
		switch {
		case dead == (len(ids) == 1):
			return misused(cmd, errors.New("either a run or --dead is wanted"))
		case !dead && (rule != "" || yes):
			return misused(cmd, errors.New("--rule and --yes go with --dead"))
		case dead:
			return retryDead(cmd, &r, c, rule, yes)
		}
		var answer json.RawMessage
		if err := c.Post(cmd.Context(), runPath(ids[0], "/retry"), nil, &answer); err != nil {
			return err
		}
		return show(&r, cmd.OutOrStdout(), answer, printRetried)
	})
	flags := cmd.Flags()
	flags.BoolVar(&dead, "dead", false, "all that failed for good")
	flags.StringVar(&rule, "rule", "", "with --dead: only those of a rule")
	flags.BoolVar(&yes, "yes", false, "with --dead: do not ask")
	return cmd
}

func printRetried(w io.Writer, run shownRun) error {
	_, err := fmt.Fprintf(w, "run %s of %s goes on: attempt %d\n", run.ID, run.Rule, run.Attempt)
	return err
}

// retried is what became of a dead letter.
type retried struct {
	ID    string `json:"id"`
	Rule  string `json:"rule"`
	Error string `json:"error,omitempty"` // why it was not retried
}

func retryDead(cmd *cobra.Command, r *remote, c *client.Client, rule string, yes bool) error {
	answer, err := c.List(cmd.Context(), runsPath(rule, "", "", true))
	if err != nil {
		return err
	}
	var list []shownRun
	if err := json.Unmarshal(answer, &list); err != nil {
		return err
	}
	slices.Reverse(list)
	if len(list) > 0 && !yes {
		yes, err := confirmed(cmd.InOrStdin(), cmd.ErrOrStderr(), "retry "+count(len(list), "dead letter")+"?")
		if err != nil {
			return err
		}
		if !yes {
			fmt.Fprintln(cmd.ErrOrStderr(), "nothing was retried")
			return exit{exitFailed}
		}
	}
	p := &printer{w: cmd.OutOrStdout()}
	if r.output == "json" {
		p.w = io.Discard
	}
	done, refused, err := retryAll(cmd.Context(), c, list, p)
	if r.output == "json" {
		answer, _ = json.Marshal(done) // texts alone
		err = errors.Join(err, show[[]retried](r, cmd.OutOrStdout(), answer, nil))
	}
	if len(list) == 0 {
		p.line("there are no dead letters")
	} else {
		p.line("%d of %s retried", len(done)-refused, count(len(list), "dead letter"))
	}
	if err = errors.Join(err, p.err); err == nil && refused > 0 {
		err = exit{exitFailed}
	}
	return err
}

// retryAll retries runs, with a line for each. What the engine refuses to do
// with one is no reason to stop.
func retryAll(ctx context.Context, c *client.Client, list []shownRun, p *printer) (done []retried, refused int, err error) {
	done = []retried{}
	for _, run := range list {
		one := retried{ID: run.ID, Rule: run.Rule}
		err := c.Post(ctx, runPath(run.ID, "/retry"), nil, &run)
		var problem *client.Problem
		switch {
		case err == nil:
			p.line("run %s of %s goes on: attempt %d", run.ID, run.Rule, run.Attempt)
		case errors.As(err, &problem) && (problem.Status == http.StatusConflict || problem.Status == http.StatusNotFound):
			refused++
			one.Error = problem.Detail
			p.line("run %s of %s is not retried: %s", run.ID, run.Rule, oneLine(problem.Detail, 200))
		default:
			return done, refused, err
		}
		done = append(done, one)
	}
	return done, refused, nil
}

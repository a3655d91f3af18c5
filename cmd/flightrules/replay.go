package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/engine"
	"github.com/flightrules/flightrules/internal/db"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/httpapi"
	"github.com/flightrules/flightrules/internal/replay"
)

// defaultDB is the database of an engine that was told no other.
const defaultDB = "sqlite:flightrules-data/flightrules.db"

func replayCommand() *cobra.Command {
	var o replay.Options
	var source logSource
	var since, until, output, picture string
	cmd := &cobra.Command{
		Use:   "replay [DIR|FILE...]",
		Short: "Show what rules would have done over the recorded log, beside what really happened",
		Long: "Puts the rules in DIR or in files, or those that are in force, over the log of a database or of an\n" +
			"export, in simulated time. Nothing is sent, and the database is only read: an engine may be at work\n" +
			"on it. The log is gone through from its beginning, since windows, deadlines and modes hang on what\n" +
			"was before; --since and --until say what is reported.",
		Example: "  flightrules replay new-rules/ --since 30d\n" +
			"  flightrules replay --db postgres://flightrules@db/flightrules --rule page-when-lost rules/ --svg replay.svg\n" +
			"  flightrules export --since 30d > log.ndjson && flightrules replay --from log.ndjson rules/",
		PreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags()) },
		RunE: func(cmd *cobra.Command, given []string) (err error) {
			if output != "text" && output != "json" {
				return misused(cmd, fmt.Errorf("unknown output %q: it is text or json", output))
			}
			if cmd.Flags().Changed("from") && cmd.Flags().Changed("db") {
				return misused(cmd, errors.New("--from and --db are two logs: give one"))
			}
			if o.AsRecorded && len(given) > 0 {
				return misused(cmd, errors.New("--as-recorded takes the rules from the log: name no files"))
			}
			if o.Last, o.Since, err = moment(since); err != nil {
				return misused(cmd, fmt.Errorf("--since %w", err))
			}
			var ago time.Duration
			if ago, o.Until, err = moment(until); err != nil {
				return misused(cmd, fmt.Errorf("--until %w", err))
			}
			if ago > 0 {
				o.Until = time.Now().UTC().Add(-ago)
			}
			if o.Files, o.Dir, err = ruleFiles(given); err != nil {
				return err
			}
			if terminal(os.Stderr) {
				o.Progress = replayProgress(os.Stderr)
				defer fmt.Fprint(os.Stderr, clearLine)
			}
			report, err := source.replay(cmd.Context(), o, cmd.InOrStdin())
			if err != nil {
				return shown(cmd.ErrOrStderr(), err)
			}
			if picture != "" {
				if err := draw(report, picture); err != nil {
					return err
				}
			}
			if output == "json" {
				return indented(cmd.OutOrStdout(), report)
			}
			return replayText(cmd.OutOrStdout(), report)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&since, "since", "", "report from then on: a time such as 2026-01-31T12:00:00Z, or how long before the end of the log, such as 30d")
	flags.StringVar(&until, "until", "", "report up to then: a time, or how long ago (default: the end of the log)")
	flags.StringSliceVar(&o.Rules, "rule", nil, "only the rule with that id; may be given several times")
	flags.StringVar(&source.db, "db", defaultDB, "sqlite:PATH or postgres://USER@HOST/NAME")
	flags.StringVar(&source.from, "from", "", "file with an export instead of a database; - is the standard input")
	flags.BoolVar(&o.Whole, "whole", false, "have rules in force from the beginning of the log, also before they were first loaded")
	flags.BoolVar(&o.AsRecorded, "as-recorded", false, "have each rule as it was at each time: shows how exact a replay of this log is")
	flags.StringVarP(&output, "output", "o", "text", "text or json")
	flags.StringVar(&picture, "svg", "", "file for a picture: a timeline of what fired")
	return cmd
}

// moment reads a time, or a duration; of "" neither.
func moment(text string) (time.Duration, time.Time, error) {
	if text == "" {
		return 0, time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return 0, at, nil
	}
	length, err := duration.Parse(text)
	if err != nil || length <= 0 {
		return 0, time.Time{}, fmt.Errorf("%s: a time such as 2026-01-31T12:00:00Z is wanted, or a duration such as 30d", text)
	}
	return length, time.Time{}, nil
}

// ruleFiles are the files that are named, or in folders that are; nil: none are.
func ruleFiles(given []string) (fs.FS, string, error) {
	if len(given) == 0 {
		return nil, "", nil
	}
	files := fstest.MapFS{}
	for _, name := range given {
		info, err := os.Stat(name)
		if err != nil {
			return nil, "", err
		}
		if info.IsDir() && len(given) == 1 {
			return os.DirFS(name), name, nil
		}
		if err := filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			key := strings.TrimLeft(filepath.ToSlash(filepath.Clean(path)), "./")
			if files[key] != nil {
				return fmt.Errorf("%s is named twice, or is called like another file: name one folder that holds all of them", path)
			}
			files[key] = &fstest.MapFile{Data: text}
			return err
		}); err != nil {
			return nil, "", err
		}
	}
	return files, "", nil
}

// logSource is where a log is.
type logSource struct{ db, from string }

func (l logSource) replay(ctx context.Context, o replay.Options, in io.Reader) (report *replay.Report, err error) {
	o.Plugins = standardPlugins
	if l.from == "" {
		if o.Source, err = db.OpenReadOnly(ctx, l.db); err != nil {
			return nil, err
		}
		report, err = replay.Run(ctx, o)
		return report, errors.Join(err, o.Source.Close())
	}
	if l.from != "-" {
		file, err := os.Open(l.from)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }() // it was only read
		in = file
	}
	source, done, err := replay.Import(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.from, err)
	}
	o.Source = source
	report, err = replay.Run(ctx, o)
	return report, errors.Join(err, done())
}

// itemsForAPI bounds how many items of each rule an answer holds.
const itemsForAPI = 200

// replayForAPI replays for the API of an engine with the rules in a folder.
func replayForAPI(dir string) func(context.Context, string, httpapi.ReplaySpec) ([]byte, error) {
	return func(ctx context.Context, url string, spec httpapi.ReplaySpec) ([]byte, error) {
		o := replay.Options{Rules: spec.Rules, Since: spec.Since, Until: spec.Until, Whole: spec.Whole, Items: itemsForAPI}
		if len(spec.Files) > 0 {
			files := fstest.MapFS{}
			for name, text := range spec.Files {
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
			o.Files = files
		} else if dir != "" {
			o.Files, o.Dir = os.DirFS(dir), dir
		}
		report, err := logSource{db: url}.replay(ctx, o, nil)
		switch {
		case errors.Is(err, replay.ErrNoRules):
			return nil, fmt.Errorf("%w: %w", engine.ErrNoRule, err)
		case err != nil:
			return nil, err
		}
		if !spec.Picture {
			return json.Marshal(report)
		}
		var picture bytes.Buffer
		err = report.SVG(&picture)
		return picture.Bytes(), err
	}
}

func draw(report *replay.Report, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(report.SVG(file), file.Close())
}

func replayProgress(w io.Writer) func(part float64) {
	last := time.Time{}
	return func(part float64) {
		if now := time.Now(); now.Sub(last) > 100*time.Millisecond || part == 1 {
			last = now
			_, _ = fmt.Fprint(w, bar("replay", part)) // nobody to tell
		}
	}
}

// verdicts are how the table calls them, and in which colour.
var verdicts = map[replay.Verdict]struct{ text, colour string }{
	replay.Both: {"both", green}, replay.OnlyReplay: {"would have fired", blue}, replay.OnlyRecorded: {"fired, would not", yellow},
}

func replayText(w io.Writer, r *replay.Report) error {
	colours := colours(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	rows, omitted := 0, 0
	for _, rule := range r.Rules {
		omitted += rule.Omitted
		for _, item := range rule.Items {
			if rows++; rows == 1 {
				fmt.Fprintln(table, "RULE\tTIME\tVERDICT\tEVENT\tKEY\tWHY")
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", rule.ID, item.At().UTC().Format(time.RFC3339), colours.paint(verdicts[item.Verdict].colour, fmt.Sprintf("%-16s", verdicts[item.Verdict].text)),
				item.Event.Name, oneLine(item.Key, 40), oneLine(why(item), 80))
			for _, line := range rendered(item) {
				fmt.Fprintf(table, "\t\t\t\t\t%s\n", line)
			}
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, note := range r.Notes {
		fmt.Fprintln(w, "note:", note)
	}
	if omitted > 0 {
		fmt.Fprintf(w, "note: %d more are counted and not listed\n", omitted)
	}
	both, would, did := r.Totals()
	_, err := fmt.Fprintf(w, "%s from %s to %s over %d transitions and %d events: %d would have fired, %d fired in both, %d fired and would not\n",
		count(len(r.Rules), "rule"), r.From.UTC().Format(time.RFC3339), r.Until.UTC().Format(time.RFC3339), r.Transitions, r.Events, would, both, did)
	return err
}

// why is what is said of an item: why not, or how else.
func why(item replay.Item) string {
	if item.Verdict != replay.Both {
		return item.Reason
	}
	if moved := item.Replay.At.Sub(item.Recorded.At).Round(time.Second); moved > 0 {
		return duration.Format(moved) + " later"
	} else if moved < 0 {
		return duration.Format(-moved) + " earlier"
	}
	return ""
}

// rendered are the actions of a run that was walked, a line each.
func rendered(item replay.Item) (lines []string) {
	if item.Replay == nil {
		return nil
	}
	for _, a := range item.Replay.Actions {
		line := a.Action + " " + oneLine(string(a.Input), 100)
		if a.Error != "" {
			line += " (" + oneLine(a.Error, 60) + ")"
		}
		lines = append(lines, line)
	}
	return lines
}

func exportCommand() *cobra.Command {
	var url, since string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write what a replay needs of a database, as NDJSON",
		Long: "Writes transitions, events, decisions, runs with their steps, and the rules and silences there were, a\n" +
			"line of JSON for each. The database is only read. Steps hold what actions were told, without secrets.",
		Example: "  flightrules export --db sqlite:flightrules.db --since 30d > log.ndjson",
		Args:    args(cobra.NoArgs),
		PreRunE: func(cmd *cobra.Command, _ []string) error { return fromEnvironment(cmd.Flags()) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			ago, from, err := moment(since)
			if err != nil {
				return misused(cmd, fmt.Errorf("--since %w", err))
			}
			if ago > 0 {
				from = time.Now().UTC().Add(-ago)
			}
			source, err := db.OpenReadOnly(cmd.Context(), url)
			if err != nil {
				return err
			}
			return errors.Join(replay.Export(cmd.Context(), source, from, cmd.OutOrStdout()), source.Close())
		},
	}
	cmd.Flags().StringVar(&url, "db", defaultDB, "sqlite:PATH or postgres://USER@HOST/NAME")
	cmd.Flags().StringVar(&since, "since", "", "only what is as old at most: a time, or how long ago, such as 30d")
	return cmd
}

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flightrules/flightrules/internal/bench"
)

func benchCommand() *cobra.Command {
	var o bench.Options
	var output string
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how much this machine carries",
		Long: "Measures the engine on this machine, each work beside a baseline of the same run. Look at the ratios:\n" +
			"the figures themselves are those of this machine, now. The works are: " + strings.Join(bench.Works(), ", ") + ".",
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return misused(cmd, fmt.Errorf("unknown output %q: it is text or json", output))
			}
			if terminal(os.Stderr) {
				o.Progress = showProgress(os.Stderr)
				defer fmt.Fprint(os.Stderr, clearLine)
			}
			results, err := bench.Run(cmd.Context(), o)
			if errors.Is(err, bench.ErrUnknownWork) {
				return misused(cmd, err)
			}
			show := benchText
			if output == "json" {
				show = benchJSON
			}
			return errors.Join(show(cmd.OutOrStdout(), results), err)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&o.Works, "work", nil, "what to measure (default: everything)")
	flags.StringVar(&o.DB, "db", "", "URL of an empty PostgreSQL database, to measure there too")
	flags.StringVar(&o.Dir, "dir", "", "folder for the SQLite files: the disk under it is measured (default: the system's for temporary files)")
	flags.DurationVar(&o.Length, "length", 5*time.Second, "how long each measurement takes")
	flags.IntVar(&o.Satellites, "satellites", 10_000, "how many satellites there are in detect and satellites")
	flags.IntVar(&o.Log, "log", 1_000_000, "how many recorded transitions there are in replay and http")
	flags.StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// crowdCommand is the satellites of a measurement, in a process of their own.
func crowdCommand() *cobra.Command {
	return &cobra.Command{
		Use: bench.CrowdCommand, Hidden: true, Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return bench.RunCrowd(cmd.Context(), os.Stdin, os.Stdout) },
	}
}

func benchJSON(w io.Writer, results []bench.Result) error {
	return indented(w, results)
}

func benchText(w io.Writer, results []bench.Result) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "work\tops/s\tp50 ms\tp99 ms\tpeak MiB\tbaseline/s\tratio\t")
	for _, r := range results {
		baseline, ratio := "", ""
		if r.Baseline > 0 {
			baseline, ratio = fmt.Sprintf("%.0f", r.Baseline), fmt.Sprintf("%.2f", r.Ratio)
		}
		fmt.Fprintf(table, "%s\t%.0f\t%.3g\t%.3g\t%.0f\t%s\t%s\t\n", r.Name, r.PerSecond, r.P50, r.P99, r.PeakRSS, baseline, ratio)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.Detail != "" {
			if _, err := fmt.Fprintf(w, "%s: %s\n", r.Name, r.Detail); err != nil {
				return err
			}
		}
	}
	return nil
}

// clearLine takes back what showProgress wrote.
const clearLine = "\r\033[K"

func showProgress(w io.Writer) func(bench.Progress) {
	return func(p bench.Progress) {
		_, _ = fmt.Fprint(w, bar(p.Name, p.Part)) // nobody to tell
	}
}

// bar is a line that shows how far something is, in the place of the one before.
func bar(name string, part float64) string {
	const width = 30
	done := int(part * width)
	return fmt.Sprintf(clearLine+"%-24s [%s%s] %3.0f%%", name, strings.Repeat("#", done), strings.Repeat(" ", width-done), 100*part)
}

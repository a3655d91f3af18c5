package probe

import (
	"context"
	"encoding/json"

	"github.com/flightrules/flightrules/plugins"
)

// Runner looks for satellites: an assignment's spec is a Spec, and its payload a
// Report.
type Runner struct{}

// Run implements plugins.Runner.
func (Runner) Run(ctx context.Context, job plugins.Job) (json.RawMessage, error) {
	var s Spec
	if err := json.Unmarshal(job.Spec, &s); err != nil {
		return nil, err
	}
	report, err := s.Look(ctx, Environment{
		Secrets: func(ctx context.Context) (map[string]string, error) { return job.Env(ctx, s.Type()) },
		Files:   job.Files,
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(report)
}

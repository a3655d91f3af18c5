package probe

import (
	"context"
	"encoding/json"

	"github.com/flightrules/flightrules/internal/scriptrun"
	"github.com/flightrules/flightrules/plugins"
)

// Runner looks for satellites: an assignment's spec is a Spec, and its payload a
// Report.
type Runner struct {
	// Scripts is how scripts are run. nil: they are not.
	Scripts *scriptrun.Config
}

// Run implements plugins.Runner.
func (r Runner) Run(ctx context.Context, job plugins.Job) (json.RawMessage, error) {
	var s Spec
	if err := json.Unmarshal(job.Spec, &s); err != nil {
		return nil, err
	}
	_, declared := job.Secrets[s.Type()]
	report, err := s.Look(ctx, Environment{
		Secrets:  func(ctx context.Context) (map[string]string, error) { return job.Env(ctx, s.Type()) },
		Declared: declared, Files: job.Files, Scripts: r.Scripts,
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(report)
}

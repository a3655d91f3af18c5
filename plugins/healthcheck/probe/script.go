package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/flightrules/flightrules/internal/bundle"
	"github.com/flightrules/flightrules/internal/duration"
	"github.com/flightrules/flightrules/internal/scriptrun"
)

// Script runs a program from the files of a satellite.
type Script struct {
	Path string   `json:"path" doc:"NAME/FILE: the name under which scripts are published, and an executable file of them."`
	Args []string `json:"args,omitempty" doc:"What it is told. Secrets are not among it: each of secret_env is a variable of its environment."`
}

// ScriptResult is what assertions see of a script that ran.
type ScriptResult struct {
	ExitCode  int           `json:"exit_code" doc:"0 is up, 1 is degraded, 3 says that it could not look, and any other is down; -1: a signal ended it."`
	Stdout    string        `json:"stdout" doc:"Its first 16 KiB."`
	Stderr    string        `json:"stderr" doc:"Its first 16 KiB."`
	Truncated bool          `json:"truncated" doc:"It wrote more."`
	JSON      any           `json:"json" doc:"stdout, where it is JSON; else null."`
	Latency   duration.Text `json:"latency" doc:"How long it took."`
}

// The exit codes of scripts, as those of plugins of Nagios.
const (
	exitUp       = 0
	exitDegraded = 1
	exitUnknown  = 3
)

const maxArgs = 100

func (s *Script) check() error {
	if err := bundle.CheckPath(s.Path); err != nil {
		return err
	}
	if !strings.Contains(s.Path, "/") {
		return errors.New("path: write the name of the scripts and the file, as in disk/check.sh")
	}
	if len(s.Args) > maxArgs {
		return fmt.Errorf("args: there are %d, and %d are possible", len(s.Args), maxArgs)
	}
	if asks(s.Args...) {
		return errors.New("args: everybody on the machine sees them; each of secret_env is a variable of the script's environment")
	}
	return nil
}

func (*Script) texts() []string { return nil }

func (*Script) result() any { return ScriptResult{} }

func (s *Script) look(ctx context.Context, e Environment) (finding, error) {
	if e.Files == nil || e.Scripts == nil {
		return finding{}, cannot("scripts do not run here")
	}
	var secrets map[string]string
	if e.Declared {
		var err error
		if secrets, err = e.secrets(ctx); err != nil {
			return finding{}, err
		}
	}
	dir, release, err := e.Files()
	if err != nil {
		return finding{}, &CannotError{err}
	}
	defer release()
	name, _, _ := strings.Cut(s.Path, "/")
	out, err := e.Scripts.Run(ctx, scriptrun.Program{
		Path: filepath.Join(dir, filepath.FromSlash(s.Path)), Args: s.Args, Dir: filepath.Join(dir, name), Env: secrets,
	})
	var hindered *scriptrun.CannotError
	switch {
	case errors.As(err, &hindered):
		return finding{}, &CannotError{hindered.Err}
	case err != nil:
		return finding{latency: out.Duration}, err
	}
	return judge(out)
}

// judge makes what a script said what a look found.
func judge(out scriptrun.Outcome) (finding, error) {
	r := ScriptResult{
		ExitCode: out.ExitCode, Stdout: out.Stdout, Stderr: out.Stderr, Truncated: out.Truncated, Latency: duration.Text(out.Duration),
	}
	_ = json.Unmarshal([]byte(out.Stdout), &r.JSON) // it need not be JSON
	found := finding{result: r, latency: out.Duration}
	said := firstLine(out.Stdout, out.Stderr)
	switch out.ExitCode {
	case exitUp:
	case exitDegraded:
		found.warning = said
		if said == "" {
			found.warning = "the script ended with 1"
		}
	case exitUnknown:
		return finding{}, cannot("the script could not look: %s", said)
	case -1:
		return found, fmt.Errorf("the script was ended: %s", out.Signal)
	default:
		if said == "" {
			said = fmt.Sprintf("the script ended with %d", out.ExitCode)
		}
		return found, errors.New(said)
	}
	return found, nil
}

// firstLine is the first line that says something.
func firstLine(texts ...string) string {
	for _, text := range texts {
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" {
				return line
			}
		}
	}
	return ""
}

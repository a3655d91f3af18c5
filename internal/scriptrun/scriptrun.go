// Package scriptrun runs a program that somebody else wrote: for a limited time,
// with limited output, in a folder of its own that is gone afterwards, with no
// variables but those that it is given, and as the user that was configured.
package scriptrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// MaxOutput is how much is kept of what a program writes, of each of its
// streams, in bytes.
const MaxOutput = 16 << 10

// killPatience is how long the streams of a program that was ended may stay
// open, as those of a process of its that got away do.
const killPatience = 2 * time.Second

// Config is how programs are run.
type Config struct {
	// User is the user whose rights they have: a name or a number. "": the one
	// that this process has, unless that is root.
	User string
	// AllowRoot lets them run as root where User is not set.
	AllowRoot bool
}

// Program is what is run.
type Program struct {
	Path string   // of the file
	Args []string // without its name
	Dir  string   // of the files that it belongs to; it finds it in FLIGHTRULES_FILES
	Env  map[string]string
}

// Outcome is what came of it.
type Outcome struct {
	ExitCode  int // -1 when a signal ended it
	Signal    string
	Stdout    string
	Stderr    string
	Truncated bool // more was written than was kept
	Duration  time.Duration
}

// CannotError says that the program could not be run at all.
type CannotError struct{ Err error }

// Error is what hindered it.
func (e *CannotError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *CannotError) Unwrap() error { return e.Err }

// ErrRoot is returned where a program would have the rights of root and nobody
// has said that it may.
var ErrRoot = errors.New("scripts do not run as root: start the agent as another user, or with --script-user")

// path is where programs are looked for.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Run runs a program until it ends, or ctx does: then it and all that it started
// is killed, and the error is ctx's. A *CannotError says that it did not run.
func (c Config) Run(ctx context.Context, p Program) (out Outcome, err error) {
	as, err := c.identity()
	if err != nil {
		return out, &CannotError{err}
	}
	scratch, err := os.MkdirTemp("", "flightrules-script-")
	if err != nil {
		return out, &CannotError{err}
	}
	defer func() {
		if failed := os.RemoveAll(scratch); failed != nil && err == nil {
			err = &CannotError{failed}
		}
	}()
	if err := as.own(scratch); err != nil {
		return out, &CannotError{err}
	}
	cmd := exec.CommandContext(ctx, p.Path, p.Args...)
	cmd.Dir, cmd.Env = scratch, environment(p, scratch)
	cmd.WaitDelay = killPatience
	stdout, stderr := &limited{}, &limited{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	as.confine(cmd)
	began := time.Now()
	err = cmd.Run()
	out = Outcome{
		ExitCode: cmd.ProcessState.ExitCode(), Stdout: stdout.text(), Stderr: stderr.text(), Truncated: stdout.more || stderr.more,
		Duration: time.Since(began),
	}
	as.sweep(cmd)
	var exited *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	case errors.As(err, &exited):
		out.Signal = signalOf(exited.ProcessState)
		return out, nil
	case errors.Is(err, exec.ErrWaitDelay):
		return out, nil // it has ended, and something that it started goes on writing
	case err != nil:
		return out, &CannotError{fmt.Errorf("run %s: %w", filepath.Base(p.Path), err)}
	}
	return out, nil
}

// environment are the variables of a program, those that it is given last.
func environment(p Program, scratch string) []string {
	env := []string{"PATH=" + path, "HOME=" + scratch, "TMPDIR=" + scratch, "LANG=C.UTF-8", "FLIGHTRULES_FILES=" + p.Dir}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		env = append(env, name+"="+p.Env[name])
	}
	return env
}

// limited keeps the beginning of what is written.
type limited struct {
	kept bytes.Buffer
	more bool
}

// Write implements io.Writer.
func (l *limited) Write(b []byte) (int, error) {
	room := MaxOutput - l.kept.Len()
	if len(b) > room {
		l.more = true
	}
	l.kept.Write(b[:min(len(b), room)])
	return len(b), nil
}

// text is what was kept, as texts are.
func (l *limited) text() string {
	return string(bytes.ToValidUTF8(bytes.ReplaceAll(l.kept.Bytes(), []byte{0}, nil), nil))
}

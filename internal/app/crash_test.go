//go:build unix

package app_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flightrules/flightrules/internal/dbtest"
)

const (
	envKills = "FLIGHTRULES_CRASH_KILLS" // how often a process is killed on each database
	envSeed  = "FLIGHTRULES_CRASH_SEED"  // of what the processes do and of when they are killed
)

const (
	// defaultKills is how often without envKills.
	defaultKills = 40
	// maxFrozen bounds how many processes are frozen until one of them has come
	// back to a run that was taken over; most do.
	maxFrozen = 30
)

// TestCrash kills a process that is hard at work again and again, at moments
// that nobody chose, and looks at what it and its successors leave behind. On
// PostgreSQL some of them are frozen first, and go on when another one has taken
// over what they were at.
func TestCrash(t *testing.T) {
	kills := int(fromEnv(t, envKills, defaultKills))
	seed := fromEnv(t, envSeed, rand.Uint64()>>1)
	dbtest.Each(t, func(t *testing.T, url string) {
		t.Parallel()
		t.Logf("to do the same again: %s=%d", envSeed, seed)
		k := &killer{t: t, config: childConfig{URL: url, Dir: t.TempDir(), Seed: seed}, random: rand.New(rand.NewPCG(seed, 0))}
		for k.kills < kills || postgres(url) && k.fenced == 0 && k.frozen < maxFrozen {
			k.kill()
		}
		k.drain()
		a := readAftermath(t, k)
		a.check()
		a.bites()
	})
}

func fromEnv(t *testing.T, name string, absent uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return absent
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// killer starts processes one after the other and keeps what they said.
type killer struct {
	t      *testing.T
	config childConfig
	random *rand.Rand

	kills, early, frozen int
	fenced               int     // runs that frozen processes found taken over
	found                []found // by the processes that came up
}

// kill lets a process work for a while. One in six is killed a while after it
// was started instead, wherever its start has come to by then.
func (k *killer) kill() {
	k.t.Helper()
	p := k.start()
	if k.random.IntN(6) == 0 {
		k.early++
		k.pause(0, 400)
		k.end(p)
		return
	}
	k.ready(p)
	k.pause(5, 200)
	if k.random.IntN(4) == 0 {
		k.pause(200, 800) // some come far
	}
	if postgres(k.config.URL) && k.random.IntN(4) == 0 {
		p = k.replace(p)
	}
	k.end(p)
}

// replace freezes a process until another one has taken its runs over, lets
// both work, and kills the one that was frozen.
func (k *killer) replace(frozen *process) *process {
	k.t.Helper()
	k.frozen++
	k.signal(frozen, syscall.SIGSTOP)
	p := k.start()
	k.ready(p)
	k.pause(300, 500)
	k.signal(frozen, syscall.SIGCONT)
	k.pause(100, 250)
	k.end(frozen)
	k.fenced += strings.Count(frozen.stderr.String(), "the lease of the run was lost")
	return p
}

// pause is a time between two numbers of milliseconds.
func (k *killer) pause(from, to int) {
	time.Sleep(time.Duration(from+k.random.IntN(to-from)) * time.Millisecond)
}

// end kills a process.
func (k *killer) end(p *process) {
	k.t.Helper()
	k.kills++
	k.signal(p, syscall.SIGKILL)
	k.wait(p, func(state *os.ProcessState) bool {
		status, ok := state.Sys().(syscall.WaitStatus)
		return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	})
}

func (k *killer) signal(p *process, signal os.Signal) {
	k.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		k.t.Fatalf("%v: %v\n%s", signal, err, p.stderr)
	}
}

// drain lets a last process end what the others have left.
func (k *killer) drain() {
	k.t.Helper()
	k.config.Drain = true
	p := k.start()
	k.ready(p)
	k.wait(p, (*os.ProcessState).Success)
}

// process is one process under test.
type process struct {
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr *strings.Builder
}

func (k *killer) start() *process {
	k.t.Helper()
	text, err := json.Marshal(k.config)
	if err != nil {
		k.t.Fatal(err)
	}
	k.config.Round++
	p := &process{cmd: exec.Command(os.Args[0]), stderr: &strings.Builder{}}
	p.cmd.Env = append(os.Environ(), envChild+"="+string(text))
	p.cmd.Stderr = p.stderr
	_, stdinErr := p.cmd.StdinPipe() // its end is the end of the process, should this one be killed
	stdout, err := p.cmd.StdoutPipe()
	if err = errors.Join(err, stdinErr); err == nil {
		p.stdout = bufio.NewReader(stdout)
		err = p.cmd.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	return p
}

// ready returns when the process is up, and keeps what it found.
func (k *killer) ready(p *process) {
	k.t.Helper()
	line, err := p.stdout.ReadBytes('\n')
	if err != nil {
		k.t.Fatalf("the process ended before it was up: %v\n%s", p.cmd.Wait(), p.stderr)
	}
	var f found
	if err := json.Unmarshal(line, &f); err != nil {
		k.t.Fatalf("%v: %s", err, line)
	}
	k.found = append(k.found, f)
}

// wait returns when the process has ended, and ends the test if that was not
// as it should be.
func (k *killer) wait(p *process, asWanted func(*os.ProcessState) bool) {
	k.t.Helper()
	if _, err := io.Copy(io.Discard, p.stdout); err != nil {
		k.t.Fatal(err)
	}
	err := p.cmd.Wait()
	if !asWanted(p.cmd.ProcessState) || strings.Contains(p.stderr.String(), "DATA RACE") {
		k.t.Fatalf("process %d ended with %v\n%s", k.config.Round, err, p.stderr)
	}
}

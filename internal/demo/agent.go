package demo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/flightrules/flightrules/internal/client"
)

// agentProcess is the agent of a satellite, in a process of its own.
type agentProcess struct {
	name, id string
	log      string
	cmd      *exec.Cmd
	done     chan struct{} // closed when the process has ended
}

func startAgent(program, folder, core string, s client.Satellite) (*agentProcess, error) {
	tokenFile := filepath.Join(folder, s.Name+".token")
	if err := os.WriteFile(tokenFile, []byte(s.Token), 0o600); err != nil {
		return nil, err
	}
	a := &agentProcess{name: s.Name, id: s.ID, log: filepath.Join(folder, s.Name+".log"), done: make(chan struct{})}
	log, err := os.Create(a.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	a.cmd = exec.Command(program, "satellite", "run", "--core", core, "--id", s.ID, "--token-file", tokenFile)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	a.cmd.SysProcAttr = diesWithParent()
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the agent of %s: %w", s.Name, err)
	}
	go func() {
		_ = a.cmd.Wait() // how it ended shows in its log
		close(a.done)
	}()
	return a, nil
}

func (a *agentProcess) pid() int { return a.cmd.Process.Pid }

// kill ends the process as a power cut would.
func (a *agentProcess) kill() error {
	if err := a.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill the agent of %s: %w", a.name, err)
	}
	<-a.done
	return nil
}

// end lets the process say goodbye and waits for it.
func (a *agentProcess) end() {
	if a.cmd.Process.Signal(os.Interrupt) != nil {
		_ = a.cmd.Process.Kill() // where there are no signals, and where it has ended
	}
	<-a.done
}

// ended is the error of an agent that is no more.
func (a *agentProcess) ended() error {
	select {
	case <-a.done:
		text, _ := os.ReadFile(a.log) // without it the error says less
		return fmt.Errorf("the agent of %s has ended: %s", a.name, text)
	default:
		return nil
	}
}

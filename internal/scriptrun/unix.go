//go:build unix

package scriptrun

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// identity is whose rights programs have: nil for those of this process.
type identity struct{ credential *syscall.Credential }

func (c Config) identity() (identity, error) {
	if c.User == "" {
		if os.Geteuid() == 0 && !c.AllowRoot {
			return identity{}, ErrRoot
		}
		return identity{}, nil
	}
	u, err := user.Lookup(c.User)
	if err != nil {
		if u, err = user.LookupId(c.User); err != nil {
			return identity{}, fmt.Errorf("there is no user %s", c.User)
		}
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return identity{}, err
	}
	if int(uid) == os.Geteuid() && os.Geteuid() != 0 {
		return identity{}, nil
	}
	return identity{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil // without other groups
}

// own gives a folder to the user.
func (i identity) own(dir string) error {
	if i.credential == nil {
		return nil
	}
	return os.Chown(dir, int(i.credential.Uid), int(i.credential.Gid))
}

// confine makes the program the head of a group of its own, which is killed as a
// whole.
func (i identity) confine(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: i.credential}
	dieWithParent(cmd.SysProcAttr)
	cmd.Cancel = func() error { return kill(cmd) }
}

// sweep ends what a program has left behind.
func (identity) sweep(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = kill(cmd) // there may be nothing left
	}
}

func kill(cmd *exec.Cmd) error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

func signalOf(state *os.ProcessState) string {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal().String()
	}
	return ""
}

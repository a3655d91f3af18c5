package demo

import "syscall"

// diesWithParent has the system end the agents when the demo is killed.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

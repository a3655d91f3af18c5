package scriptrun

import "syscall"

// dieWithParent has the system end a program whose agent was killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }

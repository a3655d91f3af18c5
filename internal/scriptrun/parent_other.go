//go:build unix && !linux

package scriptrun

import "syscall"

func dieWithParent(*syscall.SysProcAttr) {}

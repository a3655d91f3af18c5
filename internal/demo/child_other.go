//go:build !linux

package demo

import "syscall"

// diesWithParent does nothing where the system has no such thing: an agent of
// a demo that was killed goes on looking for its core.
func diesWithParent() *syscall.SysProcAttr { return nil }

//go:build assets

// How children end with their parent on Linux, even when it is killed.
package main

import (
	"os/exec"
	"syscall"
)

func endWithParent(child *exec.Cmd) {
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

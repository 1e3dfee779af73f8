// Package mortal starts processes that do not outlive the test that starts them, however that test ends: one that has run out of
// its time, or was killed, cleans nothing up.
package mortal

import "syscall"

// Attributes are those of a process that the kernel kills when the one that starts it has ended. To be exact, it does so when the
// thread has ended that starts it: none must be locked to its goroutine (runtime.LockOSThread) and end with it.
func Attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

//go:build !linux

// Package mortal starts processes that do not outlive the test that starts them. On this system they do, when the test is
// killed.
package mortal

import "syscall"

// Attributes are those of any process.
func Attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }

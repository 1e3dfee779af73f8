//go:build !linux

package e2e_test

import (
	"cmp"
	"testing"
)

// disk is where a broker keeps its files.
type disk struct {
	dir        string
	how        string
	fill, free func(pid int) error
}

// newDisk cannot be filled here.
func newDisk(t *testing.T, dir string, _ int64) disk {
	t.Helper()
	t.Log("on this system the disk is not filled")
	nothing := func(int) error { return nil }
	return disk{dir: cmp.Or(dir, t.TempDir()), how: "not at all", fill: nothing, free: nothing}
}

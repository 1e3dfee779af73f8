//go:build linux || darwin

package natsd

import (
	"syscall"
)

// diskRoom returns how many bytes of the disk that holds dir are free, and how many it has.
func diskRoom(dir string) (free, all uint64, known bool) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil || stat.Bsize <= 0 {
		return 0, 0, false
	}
	return stat.Bavail * uint64(stat.Bsize), stat.Blocks * uint64(stat.Bsize), true
}

package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// disk is where a broker keeps its files. It can be full.
type disk struct {
	dir string
	how string // a person reads how it is filled
	// fill leaves no room for the process that writes, free gives it back.
	fill, free func(pid int) error
}

// newDisk makes a file system in memory, in a mount namespace of its own that goes with the test: the kernel lets root
// do that, and where user namespaces are allowed everybody else. Where it does not, or when the files are to be in dir,
// the size of the broker's files is limited instead (RLIMIT_FSIZE), which fails writes in the same places with another
// error.
func newDisk(t *testing.T, dir string, size int64) disk {
	t.Helper()
	if dir != "" {
		return limitedDisk(dir)
	}
	d, err := ownDisk(t, size)
	if err != nil {
		t.Logf("no file system of its own for the broker (%v): its files' sizes are limited instead", err)
		return limitedDisk(t.TempDir())
	}
	return d
}

// ownDisk mounts a tmpfs where only a helper, and who goes through its /proc entry, sees it. Its size is changed to fill it.
func ownDisk(t *testing.T, size int64) (disk, error) {
	t.Helper()
	dir := t.TempDir()
	const script = `mount -t tmpfs -o size="$2",mode=0777 none "$1" && echo ready && while read -r size; do
		if mount -t tmpfs -o remount,size="$size",mode=0777 none "$1" 2>/dev/null; then echo done; else echo refused; fi; done`
	helper := exec.CommandContext(context.WithoutCancel(t.Context()), "sh", "-c", script, "sh", dir, strconv.FormatInt(size, 10))
	helper.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	in, err := helper.StdinPipe()
	if err != nil {
		return disk{}, err
	}
	out, err := helper.StdoutPipe()
	if err != nil {
		return disk{}, err
	}
	var trouble strings.Builder
	helper.Stderr = &trouble
	if err := helper.Start(); err != nil {
		return disk{}, err
	}
	t.Cleanup(func() {
		_ = in.Close() // it ends with its input, and the mount with it
		_ = helper.Wait()
	})
	said := bufio.NewReader(out)
	if line, err := said.ReadString('\n'); err != nil || line != "ready\n" {
		return disk{}, errors.Join(err, errors.New(line+trouble.String()))
	}
	root := filepath.Join("/proc", strconv.Itoa(helper.Process.Pid), "root", dir)
	resize := func(size int64) error {
		if _, err := io.WriteString(in, fmt.Sprintln(size)); err != nil {
			return err
		}
		line, err := said.ReadString('\n')
		if err == nil && line != "done\n" {
			err = fmt.Errorf("a size of %d was %s", size, line)
		}
		return err
	}
	d := disk{dir: root, how: "a tmpfs of its own, shrunk to what is used"}
	d.free = func(int) error { return resize(size) }
	d.fill = func(int) error {
		var err error
		for range 100 { // the broker may write at the same time, and the disk cannot be smaller than what it holds
			var s syscall.Statfs_t
			if err := syscall.Statfs(root, &s); err != nil {
				return err
			}
			if err = resize(int64(s.Blocks-s.Bfree)*s.Bsize + s.Bsize); err == nil {
				return nil
			}
		}
		return err
	}
	return d, nil
}

// limitedDisk lets a process write no file beyond a few bytes while it is full.
func limitedDisk(dir string) disk {
	limit := func(pid int, soft uint64) error {
		var was syscall.Rlimit
		if err := prlimit(pid, nil, &was); err != nil {
			return err
		}
		return prlimit(pid, &syscall.Rlimit{Cur: min(soft, was.Max), Max: was.Max}, nil)
	}
	return disk{
		dir: dir, how: "a limit of the size of the broker's files (RLIMIT_FSIZE)",
		fill: func(pid int) error { return limit(pid, 16) },
		free: func(pid int) error { return limit(pid, math.MaxUint64) },
	}
}

// prlimit sets and reads another process' limit of the size of its files; one that is gone has none.
func prlimit(pid int, set, was *syscall.Rlimit) error {
	const fsize = 1 // RLIMIT_FSIZE
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), fsize,
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(was)), 0, 0)
	if errno != 0 && !errors.Is(errno, syscall.ESRCH) {
		return errno
	}
	return nil
}

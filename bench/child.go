package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// stopPatience is how long a child may take to end once it is asked to.
	stopPatience = 15 * time.Second
	// tick is the unit of /proc/PID/stat on Linux.
	tick = time.Second / 100
)

// child is a process of this benchmark: the program itself in one of its roles, or headrace.
type child struct {
	name  string
	cmd   *exec.Cmd
	began time.Time
	said  *tail
	done  chan struct{}
	err   error // of Wait; valid once done is closed
}

// spawn starts a process that is interrupted when ctx ends, and killed when that does not help. lines, when
// not nil, is given its standard output.
func spawn(ctx context.Context, name string, lines io.Writer, program string, args ...string) (*child, error) {
	c := &child{name: name, said: new(tail), done: make(chan struct{})}
	c.cmd = exec.CommandContext(ctx, program, args...) //nolint:gosec // the benchmark's own programs
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(os.Interrupt) }
	c.cmd.WaitDelay = stopPatience
	if _, err := c.cmd.StdinPipe(); err != nil { // never written to: its end tells a role that we are gone
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.cmd.Stderr = c.said
	c.cmd.Stdout = c.said
	if lines != nil {
		c.cmd.Stdout = lines
	}
	c.began = time.Now()
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() {
		defer close(c.done)
		c.err = c.cmd.Wait()
	}()
	return c, nil
}

// role starts this program again in one of its roles, and returns the address that it listens on.
func role(ctx context.Context, name string, args ...string) (*child, string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	read, write := io.Pipe()
	c, err := spawn(ctx, name, write, self, append([]string{roleFlag + name}, args...)...)
	if err != nil {
		return nil, "", err
	}
	go func() {
		<-c.done
		_ = write.Close()
	}()
	line, err := bufio.NewReader(read).ReadString('\n')
	go func() { _, _ = io.Copy(io.Discard, read) }()
	if err != nil {
		<-c.done
		return nil, "", fmt.Errorf("%s ended: %w\n%s", name, c.err, c.said)
	}
	return c, strings.TrimSpace(line), nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop interrupts the process and waits for its end.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-c.done:
	case <-time.After(stopPatience):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

// until asks again and again, each millisecond, until ask succeeds. It fails when the process ends, ctx ends
// or the time is over.
func (c *child) until(ctx context.Context, patience time.Duration, what string, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	every := time.NewTicker(time.Millisecond)
	defer every.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-every.C:
		case <-c.done:
			return fmt.Errorf("%s ended before %s: %w\n%s", c.name, what, c.err, c.said)
		case <-ctx.Done():
			return fmt.Errorf("%s: %s: %w; last: %w\n%s", c.name, what, ctx.Err(), err, c.said)
		}
	}
}

// tail keeps the last of what a process prints.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

const tailSize = 8 << 10

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if len(t.kept) > tailSize {
		t.kept = bytes.Clone(t.kept[len(t.kept)-tailSize/2:])
	}
	return len(p), nil
}

// String gives what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}

// cpuTime is the processor time that a process has used so far, by its own account on Linux; 0 elsewhere.
func cpuTime(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	return parseStat(string(text))
}

// parseStat adds user and system time of a /proc/PID/stat line. The second field may hold spaces and brackets.
func parseStat(line string) time.Duration {
	const user, system = 11, 12 // after the name
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) <= system {
		return 0
	}
	u, errU := strconv.ParseInt(fields[user], 10, 64)
	s, errS := strconv.ParseInt(fields[system], 10, 64)
	if errU != nil || errS != nil {
		return 0
	}
	return time.Duration(u+s) * tick
}

// memory is a process's resident memory in bytes, now and at its highest. It is read from /proc, so it is
// known on Linux only.
func memory(pid int) (now, peak int64, err error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, 0, fmt.Errorf("memory is measured on Linux only: %w", err)
	}
	return parseStatus(string(text))
}

// parseStatus reads VmRSS and VmHWM of a /proc/PID/status file.
func parseStatus(text string) (now, peak int64, err error) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		into := &now
		switch key {
		case "VmRSS":
		case "VmHWM":
			into = &peak
		default:
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", key, err)
		}
		*into = n << 10
	}
	if now == 0 || peak == 0 {
		return 0, 0, fmt.Errorf("no VmRSS and VmHWM in %d bytes", len(text))
	}
	return now, peak, nil
}

package app

import (
	"context"
	"fmt"
	"os/signal"
	"strings"
	"time"
)

// waitsFor counts one kind of what a stopping role waits for.
type waitsFor struct {
	what  string // in the singular
	count func() int
}

// run runs the stages of a role. When ctx ends it says what the role waits for, and when the role is told to hurry it
// ends the waiting.
func (p *process) run(ctx context.Context, stages []stage) error {
	defer signal.Stop(p.reload.asked)
	ended := make(chan struct{})
	defer close(ended)
	go p.watch(ctx, ended)
	return runStages(ctx, stages)
}

func (p *process) watch(ctx context.Context, ended <-chan struct{}) {
	select {
	case <-ctx.Done():
		p.out("headrace is stopping%s\n", p.remains())
	case <-ended:
		return
	}
	select {
	case <-p.hurried:
		p.out("headrace stops now\n")
		for _, hurry := range p.hurry {
			hurry()
		}
	case <-ended:
	}
}

func (p *process) remains() string {
	counts := make([]string, 0, len(p.waits))
	for _, w := range p.waits {
		if n := w.count(); n > 0 {
			counts = append(counts, plural(n, w.what))
		}
	}
	return remains(p.cfg.API.ShutdownGrace, counts)
}

// remains is the rest of the line that tells what a stopping role waits for; "" when it waits for nothing.
func remains(grace time.Duration, counts []string) string {
	if len(counts) == 0 || grace == 0 {
		return ""
	}
	return fmt.Sprintf(": waiting up to %s for %s; press Ctrl-C again to stop now", spell(grace), strings.Join(counts, ", "))
}

// spell is a duration as people write it: "30 s" for whole seconds.
func spell(d time.Duration) string {
	if d%time.Second == 0 && d < 2*time.Minute {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return d.String()
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

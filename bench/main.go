// Command bench measures Headrace beside a bare reverse proxy and direct calls, all over one instant model
// server and in the same run, and prints ratios with their spread. The machine is never quiet enough for
// absolute figures: only what runs in the same round is compared.
//
//	go run ./bench                        speed and memory
//	go run ./bench -only batching         with real model servers, which it makes and starts
//
// It starts every server as a process of its own: itself in another role, and the headrace that it builds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The scenarios, as -only names them.
const (
	onlySpeed    = "speed"
	onlyMemory   = "memory"
	onlyJobs     = "jobs"
	onlyJobScale = "jobscale"
	onlyBatching = "batching"
)

// scenarioNames are for those who mistype one.
const scenarioNames = "speed, memory, jobs, jobscale or batching"

// bench is one run.
type bench struct {
	out      *report
	progress func(format string, args ...any)
	dir      string // for what is thrown away at the end
	binary   string // headrace
	beside   string // headrace of another commit, measured in the same rounds; "" = none
	before   string // that commit
	rounds   int
	window   time.Duration
	slots    int    // of speed and of profiles
	lines    string // which lines of the batching scenario
}

// options are the command line.
type options struct {
	rounds  int
	window  time.Duration
	only    string
	file    string
	profile string
	beside  string
	lines   string
	slots   int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := start(ctx, os.Args[1:])
	stop()
	os.Exit(code) //nolint:forbidigo // this is main
}

// start runs a role, or the benchmark.
func start(ctx context.Context, args []string) int {
	var err error
	if len(args) > 0 && strings.HasPrefix(args[0], roleFlag) {
		ctx, stop := context.WithCancel(ctx)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // it ends with the process that started us
			stop()
		}()
		err = playRole(ctx, strings.TrimPrefix(args[0], roleFlag), args[1:], os.Stdout)
	} else {
		err = measure(ctx, args)
	}
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	default:
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
}

func parse(args []string) (options, error) {
	var o options
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(os.Stderr)
	set.IntVar(&o.rounds, "rounds", 7, "how many `rounds`; a ratio is formed in each")
	set.DurationVar(&o.window, "window", 2*time.Second, "how long one target is driven at a time")
	set.StringVar(&o.only, "only", "", "run only this `scenario`: "+scenarioNames+"; default: speed and memory")
	set.StringVar(&o.file, "o", "", "append what is printed to this `file`")
	set.StringVar(&o.profile, "profile", "", "write processor profiles of headrace to this `directory`, and measure nothing else")
	set.StringVar(&o.beside, "beside", "", "build headrace of this `commit`, too, and measure it in the same rounds (speed, jobs)")
	set.IntVar(&o.slots, "slots", speedSlots, "how many `slots` headrace has for speed and profiles; 0 leaves the choice to headrace")
	set.StringVar(&o.lines, "lines", "", "of batching, run only the lines whose name has this `text` in it")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	switch {
	case set.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", set.Arg(0))
	case o.rounds < 1 || o.window < 10*time.Millisecond:
		return o, errors.New("-rounds must be at least 1, -window at least 10ms")
	case o.only != "" && !slices.Contains([]string{onlySpeed, onlyMemory, onlyJobs, onlyJobScale, onlyBatching}, o.only):
		return o, fmt.Errorf("-only %s: it is %s", o.only, scenarioNames)
	}
	return o, nil
}

// measure runs what the command line asks for.
func measure(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	out := io.Writer(os.Stdout)
	if o.file != "" {
		file, err := os.OpenFile(o.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // a report for everybody
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		out = io.MultiWriter(os.Stdout, file)
	}
	dir, err := os.MkdirTemp("", "headrace-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{
		out: &report{w: out}, dir: dir, rounds: o.rounds, window: o.window, before: o.beside, lines: o.lines, slots: o.slots,
		progress: func(format string, args ...any) { _, _ = fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}
	b.progress("building headrace")
	var version string
	if b.binary, version, err = build(ctx, dir); err != nil {
		return err
	}
	if b.before != "" {
		b.progress("building headrace of %s", b.before)
		if b.beside, err = buildCommit(ctx, dir, b.before); err != nil {
			return err
		}
	}
	b.out.heading(ctx, version)
	if err := b.scenarios(ctx, o); err != nil {
		return err
	}
	if b.out.missed > 0 {
		b.progress("%d figures were missed", b.out.missed)
	}
	return b.out.err
}

func (b *bench) scenarios(ctx context.Context, o options) error {
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil { //nolint:gosec // not secret
			return err
		}
		return b.profiles(ctx, o.profile, o.only)
	}
	var run []func(context.Context) error
	if o.only == "" || o.only == onlySpeed {
		run = append(run, b.speed)
	}
	if o.only == "" || o.only == onlyMemory {
		run = append(run, b.memory)
	}
	if o.only == onlyJobs {
		run = append(run, b.jobs)
	}
	if o.only == onlyJobScale {
		run = append(run, b.jobScale)
	}
	if o.only == onlyBatching {
		run = append(run, b.batching)
	}
	for _, scenario := range run {
		if err := scenario(ctx); err != nil {
			return err
		}
	}
	return nil
}

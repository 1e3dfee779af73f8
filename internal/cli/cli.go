// Package cli is the command line: what `headrace COMMAND` reads, asks a gateway, prints and exits with. The roles that
// it starts are internal/app's.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"headrace/internal/app"
)

// Exit statuses of the command.
const (
	exitGood   = 0
	exitFailed = 1 // failed while running
	exitUsage  = 2 // wrong usage or an invalid configuration
)

// Streams are the three streams of a command.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer

	// Hurry is closed when a command that is stopping is to wait for nothing any more; nil: it never is.
	Hurry <-chan struct{}
}

func usagef(format string, args ...any) error {
	return &app.UsageError{Err: fmt.Errorf(format, args...)}
}

// command is one word after `headrace`.
type command struct {
	name  string
	args  string
	about string
	run   func(context.Context, *invocation) error
}

// invocation is one run of a command.
type invocation struct {
	Streams

	command command
	args    []string
}

func commands() []command {
	return []command{
		{"up", "[--config gateway.toml]", "run everything in one process, with an embedded broker", role(app.Up)},
		{"broker", "[--config gateway.toml]", "run the broker alone", role(app.Broker)},
		{"api", "[--config gateway.toml]", "run the HTTP front end alone", role(app.API)},
		{"worker", "[--config gateway.toml] [--provider P]... [--route R]...", "run a worker pool alone", runWorker},
		{"check", "[--config gateway.toml] [--probe] [--json]", "validate the configuration, and ask the model servers", runCheck},
		{"import", "CONFIG.YAML [-o gateway.toml] [--force]", "translate the configuration of MLflow's gateway", runImport},
		{"routes", "[--url URL] [--json]", "show what a gateway serves and how it fares", runRoutes},
		{"jobs", "submit|get|wait|result|events|ls|cancel|retry ...", "place durable jobs and follow them", runJobs},
		{"query", "ROUTE [TEXT...] [--data JSON] [--url URL]", "make one call and print the answer", runQuery},
		{"version", "", "print the version", runVersion},
	}
}

// Main runs one command and gives the exit status. ctx ends at the first signal.
func Main(ctx context.Context, args []string, streams Streams) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(streams.Err)
		if len(args) == 0 {
			return exitUsage
		}
		return exitGood
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return exitStatus(streams, c.run(ctx, &invocation{Streams: streams, command: c, args: args[1:]}))
		}
	}
	_, _ = fmt.Fprintf(streams.Err, "headrace: there is no command %q\n\n", args[0])
	usage(streams.Err)
	return exitUsage
}

func exitStatus(streams Streams, err error) int {
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitGood
	case isUsage(err):
		_, _ = fmt.Fprintln(streams.Err, strings.TrimRight(err.Error(), "\n"))
		return exitUsage
	default:
		_, _ = fmt.Fprintln(streams.Err, "headrace:", err)
		return exitFailed
	}
}

func isUsage(err error) bool {
	_, ok := errors.AsType[*app.UsageError](err)
	return ok
}

func usage(w io.Writer) {
	_, _ = fmt.Fprint(w, "usage: headrace COMMAND\n\n")
	for _, c := range commands() {
		_, _ = fmt.Fprintf(w, "  %-8s %s\n", c.name, c.about)
	}
	_, _ = fmt.Fprint(w, "\n`headrace COMMAND --help` shows a command's options.\n")
}

// flags makes a flag set that reports mistakes as usage errors.
func (inv *invocation) flags() *flag.FlagSet {
	set := flag.NewFlagSet("headrace "+inv.command.name, flag.ContinueOnError)
	set.SetOutput(inv.Err)
	set.Usage = func() {
		_, _ = fmt.Fprintf(inv.Err, "usage: headrace %s %s\n\n%s.\n\n", inv.command.name, inv.command.args, inv.command.about)
		set.PrintDefaults()
	}
	return set
}

// parse reads flags that may stand before, between and after the arguments, which it returns.
func (inv *invocation) parse(set *flag.FlagSet) ([]string, error) {
	var rest []string
	args := inv.args
	for {
		if err := set.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usagef("headrace %s: %w", inv.command.name, err)
		}
		if set.NArg() == 0 {
			return rest, nil
		}
		if cut := len(args) - set.NArg(); cut > 0 && args[cut-1] == "--" {
			return append(rest, set.Args()...), nil
		}
		rest = append(rest, set.Arg(0))
		args = set.Args()[1:]
	}
}

// parseAlone is parse for commands without arguments.
func (inv *invocation) parseAlone(set *flag.FlagSet) error {
	rest, err := inv.parse(set)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return usagef("headrace %s: unexpected argument %q", inv.command.name, rest[0])
	}
	return nil
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

// Set appends one value.
func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// envOr is the value of an environment variable, or fallback when it is unset or empty.
func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

func runVersion(_ context.Context, inv *invocation) error {
	if err := inv.parseAlone(inv.flags()); err != nil {
		return err
	}
	_, err := fmt.Fprintln(inv.Out, "headrace", Version())
	return err
}

// Version is the version of this binary: the module's, or the commit it was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return strings.TrimPrefix(v, "v")
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return "dev-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return "dev"
}

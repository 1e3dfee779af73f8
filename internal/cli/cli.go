// Package cli is the command line: what `headrace COMMAND` reads, asks a gateway, prints and exits with. The roles that
// it starts are internal/app's.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"headrace/internal/app"
)

// Streams are the three streams of a command.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer

	// Hurry is closed when a command that is stopping is to wait for nothing any more; nil: it never is.
	Hurry <-chan struct{}
}

// Main runs one command and gives the exit status. ctx ends at the first signal.
func Main(ctx context.Context, args []string, streams Streams) int {
	root := newRoot(streams)                  //nolint:contextcheck // commands get theirs when they run
	root.SetArgs(append([]string{}, args...)) // never nil, for which cobra reads the process's own
	return exitStatus(streams.Err, root.ExecuteContext(ctx))
}

const aboutRoot = `Headrace is one HTTP door in front of models that are served with MLflow.

Run it:    up runs everything; broker, api and worker run one role each.
Use it:    query makes one call; jobs places durable jobs and follows them.
Watch it:  routes and queues show what is served and what waits.`

// helpTemplate is cobra's, with the exit statuses at the end where they matter.
const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}{{with index .Annotations "exits"}}
{{.}}
{{end}}`

func exits() map[string]string { return map[string]string{"exits": exitTable} }

func newRoot(streams Streams) *cobra.Command {
	root := &cobra.Command{
		Use: "headrace", Short: "One HTTP door in front of models that are served with MLflow", Long: aboutRoot,
		Version: build(), SilenceErrors: true, SilenceUsage: true,
		Example: "  headrace up\n  headrace query embeddings \"Hello\" \"world\"\n  headrace jobs submit embeddings \"later\" --wait",
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.Err)
	root.SetHelpTemplate(helpTemplate)
	root.SetVersionTemplate("headrace {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return wrong(cmd, "%w", err) })
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run:"}, &cobra.Group{ID: "use", Title: "Use:"}, &cobra.Group{ID: "set", Title: "Set up:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	s := &shell{Streams: streams}
	add("run", s.roleCommand("up", "Run everything in one process, with an embedded broker", app.Up),
		s.roleCommand("broker", "Run the broker alone", app.Broker),
		s.roleCommand("api", "Run the HTTP front end alone", app.API),
		s.workerCommand())
	add("use", s.queryCommand(), s.jobsCommand(), s.queuesCommand(), s.routesCommand())
	add("set", s.checkCommand(), s.importCommand(), s.versionCommand())
	root.SetHelpCommandGroupID("set")
	root.SetCompletionCommandGroupID("set")
	group(root)
	root.SetHelpCommand(helpCommand(root))
	return root
}

// shell is what all commands of one run share.
type shell struct {
	Streams
}

// envOr is the value of an environment variable, or fallback when it is unset or empty.
func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// group makes a command of one that has only subcommands: alone it shows them, and a word that is none of them gets a hint.
func group(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownWord(cmd, args[0])
		}
		cmd.SetOut(cmd.ErrOrStderr())
		if err := cmd.Help(); err != nil {
			return err
		}
		return usagef("%s: name a command; usage: %s COMMAND", cmd.CommandPath(), cmd.CommandPath())
	}
}

func unknownWord(cmd *cobra.Command, word string) error {
	cmd.SuggestionsMinimumDistance = 2 // edits
	if similar := cmd.SuggestionsFor(word); len(similar) > 0 {
		return usagef("%s: there is no command %q; did you mean %s?", cmd.CommandPath(), word, strings.Join(similar, " or "))
	}
	return usagef("%s: there is no command %q; `%s --help` lists them", cmd.CommandPath(), word, cmd.CommandPath())
}

// helpCommand is `headrace help`. Cobra's own exits with 0 for a topic that is not there.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND...]", Short: "Show the help of a command", GroupID: "set",
		Example: "  headrace help jobs submit",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil {
				return unknownWord(root, args[0])
			}
			if len(rest) > 0 {
				return unknownWord(cmd, rest[0])
			}
			cmd.InitDefaultHelpFlag()
			cmd.InitDefaultVersionFlag()
			return cmd.Help()
		},
	}
}

func usagef(format string, args ...any) error {
	return &app.UsageError{Err: fmt.Errorf(format, args...)}
}

// wrong is a mistake in how a command was typed.
func wrong(cmd *cobra.Command, format string, args ...any) error {
	path := cmd.CommandPath()
	return usagef("%s: %w; see `%s --help`", path, fmt.Errorf(format, args...), path)
}

func isUsage(err error) bool {
	_, ok := errors.AsType[*app.UsageError](err)
	return ok
}

// none refuses arguments; a file's name gets a hint at the flag that takes it.
func none(hint string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return nil
		case hint != "":
			return wrong(cmd, "unexpected argument %q; "+hint, args[0], args[0])
		default:
			return wrong(cmd, "unexpected argument %q", args[0])
		}
	}
}

// exactly wants one argument for each name, none of them empty.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return wrong(cmd, "it takes %s, and was given %d arguments", strings.Join(names, " "), len(args))
		}
		return notEmpty(cmd, args)
	}
}

// some wants at least one argument.
func some(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return wrong(cmd, "it takes at least one %s", name)
		}
		return notEmpty(cmd, args)
	}
}

func notEmpty(cmd *cobra.Command, args []string) error {
	if slices.Contains(args, "") {
		return wrong(cmd, "an argument is empty")
	}
	return nil
}

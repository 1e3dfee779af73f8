package cli

import (
	"context"

	"github.com/spf13/cobra"

	"headrace/internal/app"
)

// settings adds the flags of a role.
func (s *shell) settings(cmd *cobra.Command) *app.Settings {
	set := &app.Settings{Version: Version(), Out: s.Out, Err: s.Err, Hurry: s.Hurry}
	configFlag(cmd, &set.Config)
	cmd.Flags().StringVar(&set.LogLevel, "log-level", "info", "debug, info, warn or error")
	cmd.Flags().StringVar(&set.LogFormat, "log-format", "", "text or json; default: text on a terminal, else json")
	choices(cmd, "log-level", "debug", "info", "warn", "error")
	choices(cmd, "log-format", "text", "json")
	return set
}

func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "config", envOr("HEADRACE_CONFIG", "gateway.toml"), "the configuration `FILE` (HEADRACE_CONFIG)")
}

const noFile = "to name a configuration, write --config %s"

// roleCommand runs a role that takes no flags of its own.
func (s *shell) roleCommand(name, about string, run func(context.Context, app.Settings) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: about, Args: none(noFile),
		Long:    about + ".\n\nIt runs until SIGTERM or Ctrl-C, and then finishes what it has accepted.",
		Example: "  headrace " + name + " --config gateway.toml",
	}
	set := s.settings(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), *set) }
	return cmd
}

func (s *shell) workerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "worker", Short: "Run a worker pool alone", Args: none(noFile),
		Long:    "Run a worker pool alone. It serves every route of the configuration, or those that are named.",
		Example: "  headrace worker\n  headrace worker --route embeddings --route chat",
	}
	set := s.settings(cmd)
	providers := cmd.Flags().StringArray("provider", nil, "serve only routes of this `PROVIDER`; may be repeated")
	routes := cmd.Flags().StringArray("route", nil, "serve only this `ROUTE`; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return app.Worker(cmd.Context(), *set, *providers, *routes)
	}
	return cmd
}

package cli

import (
	"context"
	"flag"

	"headrace/internal/app"
)

// settings reads the flags of a role.
func (inv *invocation) settings(more func(*flag.FlagSet)) (app.Settings, error) {
	s := app.Settings{Version: Version(), Out: inv.Out, Err: inv.Err, Hurry: inv.Hurry}
	set := inv.flags()
	set.StringVar(&s.Config, "config", envOr("HEADRACE_CONFIG", "gateway.toml"), "the configuration `file` (HEADRACE_CONFIG)")
	set.StringVar(&s.LogLevel, "log-level", "info", "debug, info, warn or error")
	set.StringVar(&s.LogFormat, "log-format", "", "text or json; default: text on a terminal, else json")
	if more != nil {
		more(set)
	}
	return s, inv.parseAlone(set)
}

// role runs a role that takes no flags of its own.
func role(run func(context.Context, app.Settings) error) func(context.Context, *invocation) error {
	return func(ctx context.Context, inv *invocation) error {
		s, err := inv.settings(nil)
		if err != nil {
			return err
		}
		return run(ctx, s)
	}
}

func runWorker(ctx context.Context, inv *invocation) error {
	var providers, routes list
	s, err := inv.settings(func(set *flag.FlagSet) {
		set.Var(&providers, "provider", "serve only routes of this `provider`; may be repeated")
		set.Var(&routes, "route", "serve only this `route`; may be repeated")
	})
	if err != nil {
		return err
	}
	return app.Worker(ctx, s, providers, routes)
}

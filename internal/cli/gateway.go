package cli

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"headrace/internal/client"
)

// whileTyping bounds how long completion waits for names.
const whileTyping = time.Second

// tokenVariable names the variable with the gateway's admin token. No flag has it: those of a process are no secret.
const tokenVariable = "HEADRACE_ADMIN_TOKEN" //nolint:gosec // a name

// gateway is the one that a command asks.
type gateway struct{ client.Client }

// gatewayFlag adds --url; open checks it.
func gatewayFlag(cmd *cobra.Command) *gateway {
	c := &gateway{client.Client{Token: os.Getenv(tokenVariable)}}
	cmd.Flags().StringVar(&c.Address, "url", envOr("HEADRACE_URL", "http://127.0.0.1:5000"), "the gateway's `ADDRESS` (HEADRACE_URL)")
	return c
}

// open checks the value of --url.
func (c *gateway) open() error {
	if err := c.Open(); err != nil {
		return usagef("--url %s: %w", c.Address, err)
	}
	return nil
}

// routeNames completes the name of a route, which the gateway knows.
func (c *gateway) routeNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || c.open() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), whileTyping)
	defer cancel()
	names, err := c.RouteNames(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeRoutes is routeNames for a command that was given --url by then.
func completeRoutes(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	c := &gateway{client.Client{Address: cmd.Flag("url").Value.String(), Token: os.Getenv(tokenVariable)}}
	return c.routeNames(cmd, args, word)
}

// choices completes the values of a flag that has few.
func choices(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

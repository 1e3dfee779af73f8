package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"headrace/internal/app"
	"headrace/internal/config"
)

// checkReport is what `headrace check --json` prints.
type checkReport struct {
	File     string           `json:"file"`
	Valid    bool             `json:"valid"`
	Routes   int              `json:"routes"`
	Problems []config.Problem `json:"problems"`
	Warnings []config.Problem `json:"warnings"`
	Servers  []probed         `json:"servers,omitempty"` // with --probe
}

func runCheck(ctx context.Context, inv *invocation) error {
	set := inv.flags()
	path := set.String("config", envOr("HEADRACE_CONFIG", "gateway.toml"), "the configuration `file` (HEADRACE_CONFIG)")
	asJSON := set.Bool("json", false, "print JSON")
	ask := set.Bool("probe", false, "ask every model server whether it fits its routes")
	if err := inv.parseAlone(set); err != nil {
		return err
	}
	cfg, err := config.Load(*path)
	report := checkReport{File: *path, Valid: err == nil, Problems: []config.Problem{}, Warnings: []config.Problem{}}
	if invalid, ok := errors.AsType[*config.InvalidError](err); ok {
		report.Problems = invalid.Problems
	}
	if err == nil {
		report.Routes = cfg.Table.Len()
		report.Warnings = append(report.Warnings, cfg.Warnings...)
		if *ask {
			report.Servers = probe(ctx, cfg)
		}
	}
	if *asJSON {
		out := json.NewEncoder(inv.Out)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		if err := out.Encode(report); err != nil {
			return fmt.Errorf("printing the report: %w", err)
		}
	}
	switch {
	case err != nil && *asJSON:
		return usagef("%s: %d problems", *path, len(report.Problems))
	case err != nil:
		return &app.UsageError{Err: err}
	case *asJSON && slices.ContainsFunc(report.Servers, func(r probed) bool { return !r.Fits }):
		return errUnfit
	case *asJSON:
		return nil
	}
	for _, w := range report.Warnings {
		if _, err := fmt.Fprintln(inv.Out, "warning:", w); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(inv.Out, "%s is valid: %d routes\n", *path, report.Routes); err != nil || !*ask {
		return err
	}
	return printProbes(inv.Out, report.Servers)
}

package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"headrace/internal/app"
	"headrace/internal/config"
	"headrace/internal/probe"
	"headrace/internal/terminal"
)

// checkReport is what `headrace check --json` prints.
type checkReport struct {
	File     string           `json:"file"`
	Valid    bool             `json:"valid"`
	Routes   int              `json:"routes"`
	Problems []config.Problem `json:"problems"`
	Warnings []config.Problem `json:"warnings"`
	Servers  []probe.Result   `json:"servers,omitempty"`  // with --probe
	Batching []probe.Batching `json:"batching,omitempty"` // with --batch
}

func (s *shell) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Validate the configuration, and ask the model servers", Args: none(noFile),
		Long: "Validate the configuration: all problems at once, each with its place and what would be right. With --probe every model server\n" +
			"is asked whether it fits its routes, and with --batch how much faster it answers many rows in one call than one by one.",
		Example: "  headrace check\n  headrace check --config other.toml --probe\n  headrace check --probe --batch",
	}
	var path string
	configFlag(cmd, &path)
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	ask := cmd.Flags().Bool("probe", false, "ask every model server whether it fits its routes")
	batch := cmd.Flags().Bool("batch", false, "with --probe: time calls of 1, 2, 4, ... rows; each model server is busy for up to 30 s")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *batch && !*ask {
			return usagef("--batch measures model servers that fit: add --probe")
		}
		report, err := checked(cmd.Context(), path, *ask, *batch)
		switch {
		case *asJSON:
			return s.checkedJSON(report, err)
		case err != nil:
			return &app.UsageError{Err: err}
		}
		if err := s.checkedText(report); err != nil || !*ask {
			return err
		}
		unfit := probe.Print(s.Out, report.Servers)
		return cmp.Or(probe.PrintBatches(s.Out, report.Batching), unfit)
	}
	return cmd
}

// checked is what there is to say about a configuration, after its model servers were asked and measured if they are to be.
func checked(ctx context.Context, path string, ask, batch bool) (checkReport, error) { //nolint:revive // two flags of the command line
	cfg, err := config.Load(path)
	report := checkReport{File: path, Valid: err == nil, Problems: []config.Problem{}, Warnings: []config.Problem{}}
	if invalid, ok := errors.AsType[*config.InvalidError](err); ok {
		report.Problems = invalid.Problems
	}
	if err != nil {
		return report, err
	}
	report.Routes = cfg.Table.Len()
	report.Warnings = append(report.Warnings, cfg.Warnings...)
	if keys, ok := errors.AsType[*config.InvalidError](cfg.Keys(nil)); ok { // only workers need them
		report.Warnings = append(report.Warnings, keys.Problems...)
	}
	if ask {
		report.Servers = probe.All(ctx, cfg)
	}
	if batch {
		report.Batching = probe.Batches(ctx, cfg, report.Servers)
	}
	return report, nil
}

func (s *shell) checkedText(report checkReport) error {
	for _, w := range report.Warnings {
		if _, err := fmt.Fprintln(s.Out, "warning:", w); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(s.Out, "%s is valid: %s\n", report.File, terminal.Count(report.Routes, "route"))
	return err
}

func (s *shell) checkedJSON(report checkReport, err error) error {
	out := json.NewEncoder(s.Out)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(report); err != nil {
		return fmt.Errorf("printing the report: %w", err)
	}
	switch {
	case err != nil:
		return usagef("%s: %s", report.File, terminal.Count(len(report.Problems), "problem"))
	case slices.ContainsFunc(report.Servers, func(r probe.Result) bool { return !r.Fits }):
		return probe.ErrUnfit
	default:
		return nil
	}
}

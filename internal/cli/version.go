package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func (s *shell) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version, and the commit it was built from", Args: none(""),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(s.Out, "headrace", build())
			return err
		},
	}
}

// Version is the version of this binary: the module's, or the commit it was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" && !strings.HasPrefix(v, "v0.0.0-") { // which is made of a commit
		return strings.TrimPrefix(v, "v")
	}
	if commit := commitOf(info); commit != "" {
		return "dev-" + commit
	}
	return "dev"
}

// build is the version with the commit and the machine, as in `1.2.3 (commit 0123456789ab, go1.26.0 linux/amd64)`.
func build() string {
	details := runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	if info, ok := debug.ReadBuildInfo(); ok && commitOf(info) != "" {
		details = "commit " + commitOf(info) + ", " + details
	}
	return fmt.Sprintf("%s (%s)", Version(), details)
}

// commitOf is the start of the commit that a binary was built from, with a mark when the files had changed since; "" where
// it is not known.
func commitOf(info *debug.BuildInfo) string {
	var commit, mark string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			mark = "+changes"
		}
	}
	if commit == "" {
		return ""
	}
	return commit + mark
}

package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"headrace/internal/config"
	"headrace/internal/config/mlflowyaml"
	"headrace/internal/terminal"
)

func (s *shell) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "import CONFIG.YAML", Short: "Translate the configuration of MLflow's gateway",
		Args: exactly("CONFIG.YAML (MLflow's configuration; - is standard input)"),
		Long: "Translate the configuration of MLflow's gateway; - reads it from standard input. When something that MLflow obeyed is left out,\n" +
			"the exit status is 1; what could be translated is written all the same.",
		Example: "  headrace import config.yaml -o gateway.toml\n  headrace import - < config.yaml",
	}
	to := cmd.Flags().StringP("output", "o", "", "write to this `FILE` instead of the standard output")
	force := cmd.Flags().Bool("force", false, "overwrite the file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, read := args[0], os.ReadFile
		if name == "-" {
			name, read = "standard input", func(string) ([]byte, error) { return io.ReadAll(s.In) }
		}
		text, err := read(args[0])
		if err != nil {
			return wrong(cmd, "%w", err)
		}
		return s.translate(name, text, *to, *force)
	}
	return cmd
}

// translate fails when something that MLflow obeyed was left out, so that a script notices.
func (s *shell) translate(name string, text []byte, to string, overwrite bool) error {
	t, err := mlflowyaml.Translate(text)
	if err != nil {
		return usagef("%s: %w", name, err)
	}
	if _, err := config.Parse("the translation", []byte(t.TOML)); err != nil {
		return fmt.Errorf("the translation is not valid; this is a mistake of headrace: %w", err)
	}
	if err := s.writeTranslation(to, t.TOML, overwrite); err != nil {
		return err
	}
	for _, l := range t.Left {
		word := "not translated"
		if l.Ignored {
			word = "ignored"
		}
		_, _ = fmt.Fprintf(s.Err, "%s:%d: %s: %s: %s\n", name, l.Line, word, l.Key, l.Message)
	}
	_, _ = fmt.Fprintf(s.Err, "%s translated\n", terminal.Were(t.Routes, "route"))
	if !t.Complete() {
		return errors.New("something was left out, see above")
	}
	return nil
}

func (s *shell) writeTranslation(to, text string, overwrite bool) error { //nolint:revive // the flag is the user's
	if to == "" {
		_, err := fmt.Fprint(s.Out, text)
		return err
	}
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if overwrite {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	file, err := os.OpenFile(to, mode, 0o600) //nolint:gosec // the user names the file
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s exists; choose another name, or overwrite it with --force", to)
	}
	if err != nil {
		return err
	}
	if _, err := file.WriteString(text); err != nil {
		return errors.Join(err, file.Close())
	}
	return file.Close()
}

package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

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
	force := cmd.Flags().Bool("force", false, "overwrite the file, and files of keys")
	keys := cmd.Flags().String("keys", "", "move API keys that stand in CONFIG.YAML to files in this `FOLDER`; default: keys beside the output file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, read := args[0], os.ReadFile
		if name == "-" {
			name, read = "standard input", func(string) ([]byte, error) { return io.ReadAll(s.In) }
		}
		text, err := read(args[0])
		if err != nil {
			return wrong(cmd, "%w", err)
		}
		return s.translate(translation{name: name, text: text, to: *to, keys: *keys, force: *force})
	}
	return cmd
}

// translation is what is to be translated, and where to.
type translation struct {
	name  string
	text  []byte
	to    string // "" = the standard output
	keys  string // the folder of files of keys; "" = beside to
	force bool
}

// folder is where keys are moved to, as the configuration names it: "" = nowhere.
func (t translation) folder() (string, error) {
	switch {
	case t.keys != "":
		return filepath.Abs(t.keys)
	case t.to != "":
		return filepath.Abs(filepath.Join(filepath.Dir(t.to), "keys"))
	}
	return "", nil
}

// isFile says whether MLflow would read a key from a path.
func isFile(path string) bool {
	at, err := os.Stat(path)
	return err == nil && at.Mode().IsRegular()
}

// translate fails when something that MLflow obeyed was left out, so that a script notices.
func (s *shell) translate(of translation) error {
	folder, err := of.folder()
	if err != nil {
		return err
	}
	name := of.name
	t, err := mlflowyaml.Translate(of.text, mlflowyaml.Options{Keys: folder, IsFile: isFile})
	if err != nil {
		return usagef("%s: %w", name, err)
	}
	if _, err := config.Parse("the translation", []byte(t.TOML)); err != nil {
		return fmt.Errorf("the translation is not valid; this is a mistake of headrace: %w", err)
	}
	if err := s.writeTranslation(of.to, t.TOML, of.force); err != nil {
		return err
	}
	if err := writeKeys(t.Keys, of.force); err != nil {
		return err
	}
	if len(t.Keys) > 0 {
		_, _ = fmt.Fprintf(s.Err, "%s moved to %s; take them out of %s\n", terminal.Were(len(t.Keys), "key"), folder, name)
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

// writeKeys writes each key to a file that its owner alone can read.
func writeKeys(keys []mlflowyaml.Key, overwrite bool) error {
	for _, k := range keys {
		if err := os.MkdirAll(filepath.Dir(k.Path), 0o700); err != nil {
			return err
		}
		if err := writeFile(k.Path, string(k.Text)+"\n", overwrite); err != nil {
			return err
		}
	}
	return nil
}

func (s *shell) writeTranslation(to, text string, overwrite bool) error {
	if to == "" {
		_, err := fmt.Fprint(s.Out, text)
		return err
	}
	return writeFile(to, text, overwrite)
}

// writeFile writes a new file, or over an old one, that its owner alone can read.
func writeFile(to, text string, overwrite bool) error { //nolint:revive // the flag is the user's
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
	if err := file.Chmod(0o600); err != nil { // one that was there may be readable by others
		return errors.Join(err, file.Close())
	}
	if _, err := file.WriteString(text); err != nil {
		return errors.Join(err, file.Close())
	}
	return file.Close()
}

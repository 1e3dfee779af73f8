package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"headrace/internal/config"
	"headrace/internal/config/mlflowyaml"
)

// runImport translates MLflow's configuration. It fails when something that MLflow obeyed was left out, so that a
// script notices; what could be translated is written all the same.
func runImport(_ context.Context, inv *invocation) error {
	set := inv.flags()
	to := set.String("o", "", "write to this `file` instead of the standard output")
	force := set.Bool("force", false, "overwrite the file")
	args, err := inv.parse(set)
	if err != nil {
		return err
	}
	if len(args) != 1 {
		return usagef("headrace import: name one file, MLflow's config.yaml")
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return usagef("headrace import: %w", err)
	}
	t, err := mlflowyaml.Translate(text)
	if err != nil {
		return usagef("%s: %w", args[0], err)
	}
	if _, err := config.Parse("the translation", []byte(t.TOML)); err != nil {
		return fmt.Errorf("the translation is not valid; this is a mistake of headrace: %w", err)
	}
	if err := writeTranslation(inv, *to, t.TOML, *force); err != nil {
		return err
	}
	for _, l := range t.Left {
		word := "not translated"
		if l.Ignored {
			word = "ignored"
		}
		_, _ = fmt.Fprintf(inv.Err, "%s:%d: %s: %s: %s\n", args[0], l.Line, word, l.Key, l.Message)
	}
	_, _ = fmt.Fprintf(inv.Err, "%d routes were translated\n", t.Routes)
	if !t.Complete() {
		return errors.New("something was left out, see above")
	}
	return nil
}

func writeTranslation(inv *invocation, to, text string, overwrite bool) error { //nolint:revive // the flag is the user's
	if to == "" {
		_, err := fmt.Fprint(inv.Out, text)
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

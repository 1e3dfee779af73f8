package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"headrace/worker"
	"headrace/worker/learned"
)

// memory keeps what workers have learned of model servers in a file. Several processes with one data directory
// overwrite each other's: what is lost is learned again.
type memory struct {
	file string
	log  *slog.Logger
}

var _ worker.Memory = memory{}

// Load is what was saved last; nil when nothing was, or it cannot be read.
func (m memory) Load() map[string]learned.Stored {
	text, err := os.ReadFile(m.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var known map[string]learned.Stored
	if err == nil {
		err = json.Unmarshal(text, &known)
	}
	if err != nil {
		m.log.Warn("the file of what was learned about model servers cannot be read; learning starts over", "file", m.file, "error", err)
		return nil
	}
	return known
}

// Save replaces the file.
func (m memory) Save(known map[string]learned.Stored) error {
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(m.file), 0o700); err != nil {
		return err
	}
	fresh := fmt.Sprintf("%s.%d", m.file, os.Getpid())
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return errors.Join(err, os.Remove(fresh))
	}
	return os.Rename(fresh, m.file)
}

package mutants_test

// settings are those of a short run.
func settings() []string {
	return []string{
		"SEED=11", "CHAOS=14s", "KILLS=6", "JOBS=1000", "BATCH=8", "BACKLOG=400", "CLIENTS=2", "LARGE=25", "PACE=1", "LINGER=300ms",
		"LEASE=3s", "DURABILITY=power", "POWER=3",
	}
}

// instruments are in all mutants and in what is compared with them. Leases are short, so that a short run has many that are lost;
// and the broker keeps a copy of what it has synced, which is what a loss of power leaves. A sync takes as long as one of a slow
// disk does, so that there is always something that is not synced yet.
func instruments() ([]edit, string) {
	edits := []edit{
		{"cfg.Flush = (*os.File).Sync", "cfg.Flush = synced(cfg.DataDir)"},
		{"AckWait = 30 * time.Second", "AckWait = 3 * time.Second"},
		{"finishPatience = 20 * time.Second", "finishPatience = 2 * time.Second"},
		{"verifyAfter = 10 * time.Second", "verifyAfter = 3 * time.Second"},
	}
	return edits, `
import (
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// synced syncs a file or a directory of data_dir, and has a copy of it in another directory from then on.
func synced(dataDir string) func(*os.File) error {
	copies := os.Getenv("HEADRACE_SYNCED")
	if copies == "" {
		return (*os.File).Sync
	}
	return func(f *os.File) error {
		if err := f.Sync(); err != nil {
			return err
		}
		inside, err := filepath.Rel(filepath.Clean(dataDir), f.Name())
		if err != nil || strings.HasPrefix(inside, "..") {
			return err
		}
		there := filepath.Join(copies, inside)
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.IsDir() {
			return syncedDir(f.Name(), there)
		}
		from, err := os.Open(f.Name()) // what is synced may be open for writing only
		if err != nil {
			return nil // it is gone, which its directory tells
		}
		defer from.Close()
		if now, err := from.Stat(); err != nil || !os.SameFile(now, info) {
			return nil // another file has taken its place, whose directory is synced as well
		}
		time.Sleep(50 * time.Millisecond)
		if err := copyTo(there, from, info.Size()); err != nil {
			return err
		}
		syncedFiles.Store(number(info), there)
		return nil
	}
}

// syncedFiles are the paths of copies, by the number of the file that was synced.
var syncedFiles sync.Map

func number(info os.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

// copyTo makes a copy that is there whole or not at all.
func copyTo(path string, from io.ReaderAt, size int64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	to, err := os.CreateTemp(filepath.Dir(path), "headrace-copy-")
	if err != nil {
		return err
	}
	_, err = io.Copy(to, io.NewSectionReader(from, 0, size))
	return cmp.Or(err, to.Close(), os.Rename(to.Name(), path))
}

// syncedDir drops from the copy what is not in a directory any more, and has in it what was synced under another name.
func syncedDir(dir, there string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		was, ok := syncedFiles.Load(number(info))
		path := filepath.Join(there, e.Name())
		if !ok || was == path {
			continue
		}
		from, err := os.Open(was.(string))
		if err != nil {
			continue // it was synced as one that is gone, and its number was given again
		}
		whole, err := from.Stat()
		if err == nil {
			err = copyTo(path, from, whole.Size())
		}
		if err = cmp.Or(err, from.Close()); err != nil {
			return err
		}
		syncedFiles.Store(number(info), path)
	}
	if err := os.MkdirAll(there, 0o700); err != nil {
		return err
	}
	copied, err := os.ReadDir(there)
	for _, e := range copied {
		if _, gone := os.Lstat(filepath.Join(dir, e.Name())); errors.Is(gone, os.ErrNotExist) && !strings.HasPrefix(e.Name(), "headrace-copy-") {
			err = cmp.Or(err, os.RemoveAll(filepath.Join(there, e.Name())))
		}
	}
	return err
}
`
}

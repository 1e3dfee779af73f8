package natsd

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A failed sync means that something is not on disk, and the system reports it only once: it may then take the lost pages
// for written. The next sync of the file succeeds and readers get the pages from memory, even when another process
// opens the file, but a loss of power takes them away. So what may be lost is copied into new files. They are synced, and
// replace the old ones before the server reads them.

const (
	// unsyncedMark in data_dir tells the next process that uses data_dir that a sync has failed, at the file's time. The mark
	// itself need not be on disk: after a loss of power, what can be read is what is on disk.
	unsyncedMark = "headrace.unsynced"
	// renewedFile in data_dir is the copy that is being made.
	renewedFile = "headrace.renewed"
	// unsyncedFor is how long before a failed sync the file may have been changed. The server syncs changes once a second.
	unsyncedFor = time.Hour
)

// doubt records that what was written may not be on disk although it can be read.
func (s *Server) doubt(why error) {
	if !s.Syncs() {
		return
	}
	s.mu.Lock()
	known := !s.unsynced.IsZero()
	if !known {
		s.unsynced = time.Now()
	}
	s.mu.Unlock()
	if known {
		return
	}
	mark, err := os.Create(s.mark()) // empty: there may be no room for a word
	if err == nil {
		err = mark.Close()
	}
	if err != nil {
		s.log.Error("a failed sync could not be noted; restart the whole machine before the broker", "error", err, "sync", why)
	}
}

func (s *Server) mark() string { return filepath.Join(s.cfg.DataDir, unsyncedMark) }

// recall finds out whether an earlier process left a mark.
func (s *Server) recall() error {
	info, err := os.Stat(s.mark())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsynced = info.ModTime()
	return nil
}

// renew copies the files in doubt. The server must not run. After an error they are still in doubt.
func (s *Server) renew() error {
	s.mu.Lock()
	since := s.unsynced
	s.mu.Unlock()
	if since.IsZero() || !s.Syncs() {
		return nil
	}
	s.log.Warn("a sync has failed; copying what was stored since into new files")
	root := filepath.Clean(s.cfg.DataDir)
	for _, name := range s.cfg.Synced {
		files := &streamFiles{dir: filepath.Join(streamsDir(root), name), root: root, flush: s.flush}
		if err := files.renew(since.Add(-unsyncedFor)); err != nil {
			return err
		}
	}
	if err := os.Remove(s.mark()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsynced = time.Time{}
	return nil
}

// streamsDir is where a server that is no cluster keeps the streams of its only account.
func streamsDir(dataDir string) string {
	return filepath.Join(dataDir, server.JetStreamStoreDir, server.DEFAULT_GLOBAL_ACCOUNT, "streams")
}

// renew copies the files that were changed after since, and syncs them and all directories.
func (f *streamFiles) renew(since time.Time) error {
	if _, err := os.Stat(f.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := filepath.WalkDir(f.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		info, err := entry.Info()
		if err != nil || info.ModTime().Before(since) {
			return err
		}
		return f.renewFile(path, info.Mode().Perm())
	})
	if err != nil {
		return err
	}
	err = filepath.WalkDir(f.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return f.syncFile(path)
	})
	return errors.Join(err, f.syncStream())
}

// renewFile replaces a file with a copy. It makes the copy elsewhere: the server would take one beside the file for a block.
func (f *streamFiles) renewFile(path string, mode fs.FileMode) (err error) {
	from, err := os.Open(path) //nolint:gosec // the server's own
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	name := filepath.Join(f.root, renewedFile)
	to, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode) //nolint:gosec // data_dir is configured
	if err != nil {
		return err
	}
	// Plain reads and writes: a system call that copies files may share the blocks on disk.
	_, err = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
	if err == nil {
		err = f.flush(to)
	}
	if err = errors.Join(err, to.Close()); err == nil {
		return os.Rename(name, path)
	}
	return errors.Join(err, os.Remove(name))
}

package natsd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// healthEvery is how often the streams are asked whether they can be written.
	healthEvery = time.Second
	// renewAgain is the shortest life of a server that found no room to rewrite what may be lost: its next life cuts calls off.
	renewAgain = 3 * time.Second
	// spareDisk is the free room below which no job is accepted, so that accepted jobs can be finished. On a small disk it is
	// one part in smallDisk of it.
	spareDisk = 256 << 20
	smallDisk = 20
	// diskProbe is how much must be written in one piece before the streams of a disk that was full are read again. Most of
	// a small disk would be too much.
	diskProbe = 1 << 20
)

// DiskFull returns why the disk of data_dir takes no more jobs; nil as long as it does.
func (s *Server) DiskFull() error {
	s.mu.Lock()
	trouble := !s.trouble.IsZero()
	s.mu.Unlock()
	free, spare, known := s.disk()
	switch {
	case known && free < spare:
		return fmt.Errorf("the disk of broker.data_dir has %d MiB left, and %d are kept free; make room on it", free>>20, spare>>20)
	case trouble:
		return errors.New("the disk of broker.data_dir could not be written; see the broker's log")
	}
	return nil
}

func (s *Server) disk() (free, spare uint64, known bool) {
	free, all, known := diskRoom(s.cfg.DataDir)
	return free, min(spareDisk, all/smallDisk), known
}

// mended reports whether the server should start again: a stream could not be written, or what may be lost could not be
// rewritten (lost), and the disk can be written now. since is when the server was started.
func (s *Server) mended(ns *server.Server, lost error, since time.Time) bool {
	health := s.health(ns)
	// Any other error would occur again, and a new life cuts calls off.
	noRoom := errors.Is(lost, syscall.ENOSPC)
	if !noRoom && !strings.Contains(health, "write error") { // it has no other name for it, nor for a sync that has failed
		return false
	}
	s.mu.Lock()
	news := s.trouble.IsZero()
	if news {
		s.trouble = time.Now()
	}
	s.mu.Unlock()
	if news && !noRoom {
		s.log.Error("a stream cannot be written; no job is accepted until the disk has room", "error", health)
		s.doubt(errors.New(health))
	}
	if free, spare, known := s.disk(); known && free < spare || noRoom && time.Since(since) < renewAgain {
		return false
	}
	if err := probeDisk(s.cfg.DataDir); err != nil {
		s.log.Debug("the disk still cannot be written", "error", err)
		return false
	}
	return true
}

// probeDisk writes and removes one file of diskProbe bytes, so that a disk with only a little room does not pass.
func probeDisk(dir string) (err error) {
	file, err := os.Create(filepath.Join(dir, "headrace.probe")) //nolint:gosec // the configuration names the directory
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if _, err := file.Write(make([]byte, diskProbe)); err != nil {
		return err
	}
	return file.Sync()
}

package broker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// healthEvery is how often the streams are asked whether they can be written.
	healthEvery = time.Second
	// spareDisk is the room that is left on the disk when no job is accepted any more, so that what was accepted can be
	// finished; on a small disk one part in smallDisk of it.
	spareDisk = 256 << 20
	smallDisk = 20
	// blindPause is how long to wait before the streams are read anew where the room on the disk is not known.
	blindPause = 30 * time.Second
)

// DiskFull says why the disk of data_dir takes no more jobs; nil as long as it does.
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

// mended reports whether a stream could not be written and the disk has room again, or may have.
func (s *Server) mended(ns *server.Server) bool {
	health := ns.Healthz(nil)
	if !strings.Contains(health.Error, "write error") { // it has no other name for it
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble.IsZero() {
		s.trouble = time.Now()
		s.log.Error("a stream cannot be written; no job is accepted until the disk has room", "error", health.Error)
	}
	free, spare, known := s.disk()
	return known && free >= spare || !known && time.Since(s.trouble) > blindPause
}

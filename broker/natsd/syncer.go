package natsd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
)

const (
	// mtimeDoubt is how long after a change of a directory another change may leave its time as it is: file systems read the
	// time from a clock that ticks 100 to 1,000 times a second.
	mtimeDoubt = 50 * time.Millisecond
)

// syncer makes writes durable where durability is "power". The server could sync each write before it acknowledges it,
// one after the other. Here writers request a sync when they have the acknowledgement, and one sync serves all requests
// that arrived before it began.
type syncer struct {
	log   *slog.Logger
	dir   string // of the server's streams
	root  string // data_dir
	clock func() time.Time
	flush func(*os.File) error
	// lost is why nothing can be made durable; nil when nothing is known to be lost.
	lost    error
	failed  func(error) // called for each sync that fails
	streams []string    // whose writers ask
}

// run answers until ctx ends.
func (s *syncer) run(ctx context.Context, nc *nats.Conn) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for _, name := range s.streams {
		asked := make(chan *nats.Msg, 1024)
		if _, err := nc.ChanSubscribe(link.SubjectSync+name, asked); err != nil {
			return fmt.Errorf("broker: syncer: %w", err)
		}
		running.Go(func() { s.serve(ctx, name, asked) })
	}
	<-ctx.Done()
	return nil
}

func (s *syncer) serve(ctx context.Context, name string, asked <-chan *nats.Msg) {
	files := &streamFiles{dir: filepath.Join(s.dir, name), root: s.root, flush: s.flush, failed: s.lost}
	defer files.close()
	var waiting []*nats.Msg
	for {
		select {
		case msg := <-asked:
			waiting = append(waiting[:0], msg)
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case msg := <-asked:
				waiting = append(waiting, msg)
			default:
				more = false
			}
		}
		text := ""
		if err := files.sync(s.clock()); err != nil {
			s.log.Error("jobs cannot be made durable; repair the disk and restart the broker", "stream", name, "error", err)
			s.failed(err)
			text = err.Error()
		}
		for _, msg := range waiting {
			if err := msg.Respond([]byte(text)); err != nil {
				s.log.Warn("answering for a sync", "stream", name, "error", err)
			}
		}
	}
}

// streamFiles are the files of one stream's messages. The server appends to the newest block. It makes, rewrites and
// removes the others, which changes their directory.
type streamFiles struct {
	dir    string
	root   string // data_dir; the directories above it are its owner's business
	flush  func(*os.File) error
	looked time.Time // the directory's time when its blocks were looked at
	sure   bool      // whether a change after that look would show in the time
	known  map[string]blockState
	newest *os.File
	failed error
}

// blockState tells a block that has changed since it was synced from one that has not.
type blockState struct {
	info fs.FileInfo
}

func (b blockState) same(info fs.FileInfo) bool {
	return b.info != nil && os.SameFile(b.info, info) && b.info.Size() == info.Size() && b.info.ModTime().Equal(info.ModTime())
}

// sync makes durable what was written before it is called. After an error nothing is durable any more: a system that
// could not write a page may claim the next time that it did.
func (f *streamFiles) sync(now time.Time) error {
	if f.failed == nil {
		f.failed = f.trySync(now)
	}
	return f.failed
}

func (f *streamFiles) trySync(now time.Time) error {
	blocks := filepath.Join(f.dir, "msgs")
	info, err := os.Stat(blocks)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // there is no such stream, and nothing of it
	}
	if err != nil {
		return err
	}
	if f.newest != nil && f.sure && info.ModTime().Equal(f.looked) {
		return f.flush(f.newest)
	}
	if f.known == nil {
		if err := f.syncStream(); err != nil {
			return err
		}
	}
	f.looked, f.sure = info.ModTime(), now.Sub(info.ModTime()) > mtimeDoubt
	return f.syncBlocks(blocks)
}

// syncBlocks syncs the blocks that have changed, and their directory.
func (f *streamFiles) syncBlocks(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	known := make(map[string]blockState, len(entries))
	newest, number := "", uint64(0)
	for _, e := range entries {
		digits, block := strings.CutSuffix(e.Name(), ".blk")
		n, err := strconv.ParseUint(digits, 10, 64)
		if !block || err != nil {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its messages are gone, or in another block by now
		}
		if err != nil {
			return err
		}
		if n >= number {
			newest, number = e.Name(), n
		}
		known[e.Name()] = blockState{info}
	}
	for name, state := range known {
		if name == newest || f.known[name].same(state.info) {
			continue
		}
		if err := f.syncBlock(filepath.Join(dir, name), state); err != nil {
			return err
		}
	}
	f.known = known
	if err := f.keep(dir, newest, known[newest]); err != nil {
		return err
	}
	return f.syncFile(dir)
}

// syncBlock syncs a block that has changed. An open file reports every failure since it was opened, also those that the
// server's own syncs have seen.
func (f *streamFiles) syncBlock(path string, state blockState) error {
	if f.holds(state) {
		return f.flush(f.newest)
	}
	return f.syncFile(path)
}

// holds reports whether state is the block that is held open.
func (f *streamFiles) holds(state blockState) bool {
	if f.newest == nil || state.info == nil {
		return false
	}
	held, err := f.newest.Stat()
	return err == nil && os.SameFile(held, state.info)
}

// keep holds the newest block open, because most syncs need no other file.
func (f *streamFiles) keep(dir, newest string, state blockState) error {
	if f.holds(state) {
		return f.flush(f.newest)
	}
	f.close()
	if newest == "" {
		return nil
	}
	file, err := os.Open(filepath.Join(dir, newest)) //nolint:gosec // the server's own
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the next sync looks again
	}
	if err != nil {
		return err
	}
	f.newest = file
	return f.flush(file)
}

// syncStream syncs the stream's description, and the directories on the way to it.
func (f *streamFiles) syncStream() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			if err := f.syncFile(filepath.Join(f.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for dir := f.dir; ; dir = filepath.Dir(dir) {
		if err := f.syncFile(dir); err != nil || dir == f.root || dir == filepath.Dir(dir) {
			return err
		}
	}
}

func (f *streamFiles) close() {
	if f.newest != nil {
		_ = f.newest.Close() // it was only read and synced
		f.newest = nil
	}
}

// syncFile syncs a file or a directory. A missing file needs no sync.
func (f *streamFiles) syncFile(path string) error {
	file, err := os.Open(path) //nolint:gosec // the server's own
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.flush(file), file.Close())
}

package runner_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"headrace/broker/natsd"
	"headrace/broker/sweeper"
	"headrace/internal/fault"
	"headrace/internal/job"
	"headrace/internal/lanetest"
)

// newPowerRig is a rig whose server syncs files with flush before anybody is told that something is stored.
func newPowerRig(tb testing.TB, flush func(*os.File) error) *jobRig {
	tb.Helper()
	if !natsd.SyncOnRequest {
		tb.Skip("the server syncs each write by itself here")
	}
	r := lanetest.BareRig(tb)
	r.Flush, r.Store = flush, 64<<20 // which makes blocks of about 1 MB
	r.ServeBroker(natsd.Config{MaxMemory: 64 << 20, Durability: natsd.Power})
	r.Keep()
	r.Front = r.NewFront()
	tb.Cleanup(r.Balanced)
	j := &jobRig{Rig: r, route: lanetest.TestRoute("jobs")}
	sweeper, err := sweeper.New(r.Dial, r.Shared.Syncs, r.Disk(), r.Log)
	if err != nil {
		tb.Fatal(err)
	}
	lanetest.Background(tb, sweeper.Run)
	j.jobs = j.newJobs()
	return j
}

// disk remembers what was in files when they were synced.
type disk struct {
	mu    sync.Mutex
	files map[string]*diskFile
}

type diskFile struct {
	info os.FileInfo
	data []byte
}

func (d *disk) flush(f *os.File) error {
	if filepath.Ext(f.Name()) == ".blk" {
		if err := d.read(f); err != nil {
			return err
		}
	}
	return f.Sync()
}

// read reads what has been added to a file, or all of it when it is another one of the same name.
func (d *disk) read(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.files[f.Name()]
	if known == nil || !os.SameFile(known.info, info) {
		known = &diskFile{info: info}
		d.files[f.Name()] = known
	}
	more := make([]byte, max(info.Size()-int64(len(known.data)), 0))
	n, err := f.ReadAt(more, int64(len(known.data)))
	known.data = append(known.data, more[:n]...)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}

// holds reports whether text would be there after a loss of power now. What was removed or replaced is gone at once. A
// file holds what it held when it was synced last; one that has replaced another one was written before it did.
func (d *disk) holds(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, synced := range d.files {
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		data := synced.data
		if !os.SameFile(info, synced.info) {
			if data, err = os.ReadFile(name); err != nil {
				continue
			}
		}
		if bytes.Contains(data, []byte(text)) {
			return true
		}
	}
	return false
}

// What is acknowledged, and each end that somebody has seen, was in a file when that was synced, also while blocks are
// filled, rewritten and removed.
func TestPowerSyncsBeforeItTells(t *testing.T) {
	t.Parallel()
	d := &disk{files: make(map[string]*diskFile)}
	r := newPowerRig(t, d.flush)
	r.Serve(8, r.Echo, r.route)
	const clients, each = 8, 10
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			var ids []job.ID
			for range each {
				item := `"` + strings.Repeat("x", 40<<10) + `"`
				rec, _, err := r.jobs.Accept(t.Context(), r.record(), []byte(item), lanetest.Request(r.route, item))
				if err != nil {
					t.Error(err)
					return
				}
				ids = append(ids, rec.ID)
				for _, id := range ids { // also while later versions are written and removed
					if !d.holds(`"id":"` + string(id)) {
						t.Errorf("job %s was accepted and is not on disk", id)
					}
				}
				end, err := r.jobs.WaitEnd(t.Context(), rec.ID)
				if err != nil || end.State != job.Succeeded {
					t.Errorf("got %+v, %v", end, err)
					return
				}
				if !d.holds(`"id":"` + string(rec.ID) + `","run":1,"route":"jobs","provider":"` + rec.Provider + `","type":"` + string(rec.Type) + `","priority":"standard","state":"succeeded"`) {
					t.Errorf("the end of job %s was told and is not on disk", rec.ID)
				}
			}
		})
	}
	running.Wait()
}

// Large inputs and results are on disk before the record that names them.
func TestPowerSyncsBodies(t *testing.T) {
	t.Parallel()
	d := &disk{files: make(map[string]*diskFile)}
	r := newPowerRig(t, d.flush)
	r.Serve(1, r.Echo, r.route)
	item := `"` + strings.Repeat("x", 3<<20) + `"`
	rec := r.accept(r.record(), item)
	for _, part := range []string{".0", ".1", ".2", ".3"} {
		if !d.holds(string(rec.ID) + "." + rec.Input.Series + part) {
			t.Errorf("part %s of an accepted input is not on disk", part)
		}
	}
	end := r.until(rec.ID, job.Succeeded)
	if !d.holds(string(rec.ID) + "." + end.Result.Series + ".3") {
		t.Error("the end of a result is not on disk")
	}
}

// An end that is stored and not yet on disk is not shown yet; the worker goes on.
func TestEndIsShownWhenItIsDurable(t *testing.T) {
	t.Parallel()
	var slow atomic.Bool
	stuck, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r := newPowerRig(t, func(f *os.File) error {
		if slow.Load() && strings.Contains(f.Name(), "JOBREC") {
			once.Do(func() { close(stuck) })
			<-proceed
		}
		return f.Sync()
	})
	rec := r.accept(r.record(), `"`+strings.Repeat("x", 1<<20)+`"`)
	slow.Store(true)
	stop := r.Serve(1, r.Echo, r.route)
	got, err := r.jobs.WaitEnd(t.Context(), rec.ID)
	if fault.CodeOf(err) != fault.NoWorkers {
		t.Errorf("an end that may be lost was shown: %+v, %v", got, err)
	}
	lanetest.Await(t, stuck, "sync")
	stop()
	close(proceed)
	rec = r.until(rec.ID, job.Succeeded)
	if got := r.result(rec); len(got) != 1<<20+2 || rec.Attempt != 1 || rec.Interruptions != 0 {
		t.Errorf("%d bytes; %+v", len(got), rec)
	}
}

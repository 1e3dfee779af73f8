package runner_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"headrace/broker/natsd"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/job"
	"headrace/internal/lanetest"
)

// lossyDisk is one whose syncs fail as long as it is broken. Whether they were made all the same is another question.
type lossyDisk struct {
	broken atomic.Bool
	writes bool
	full   atomic.Bool // it is broken because it has no room
}

func (d *lossyDisk) flush(f *os.File) error {
	if !d.broken.Load() {
		return f.Sync()
	}
	if d.full.Load() {
		return syscall.ENOSPC
	}
	if d.writes {
		return errors.Join(errors.New("input/output error"), f.Sync())
	}
	return errors.New("input/output error")
}

// lossyRig is a rig in dir on a lossy disk.
func lossyRig(tb testing.TB, dir string, d *lossyDisk, health func() string) *jobRig {
	tb.Helper()
	if !natsd.SyncOnRequest {
		tb.Skip("the server syncs each write by itself here")
	}
	r := lanetest.BareRig(tb)
	r.Flush, r.Health, r.Store = d.flush, health, 64<<20
	r.ServeBrokerIn(dir, natsd.Config{MaxMemory: 64 << 20, Durability: natsd.Power})
	r.Keep()
	r.Front = r.NewFront()
	tb.Cleanup(r.Balanced)
	j := &jobRig{Rig: r, route: lanetest.TestRoute("jobs")}
	j.sweep()
	j.jobs = j.newJobs()
	return j
}

// refused asks for a job of a shard, which must not be accepted.
func (r *jobRig) refused(shard string) {
	r.TB.Helper()
	_, _, err := r.jobs.Accept(r.TB.Context(), r.inShard(shard), []byte(`"b"`), lanetest.Request(r.route, `"b"`))
	if fault.CodeOf(err) != fault.NoWorkers {
		r.TB.Errorf("got %v", err)
	}
}

// blocks are the files that hold the messages of a shard's records.
func blocks(tb testing.TB, dir, shard string) map[string]fs.FileInfo {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "JOBREC_"+shard, "msgs", "*.blk"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no blocks: %v", err)
	}
	infos := make(map[string]fs.FileInfo)
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			tb.Fatal(err)
		}
		infos[path] = info
	}
	return infos
}

// renewed reports whether all of the blocks that there were are other files now.
func renewed(before, now map[string]fs.FileInfo) bool {
	for path, info := range before {
		if now[path] == nil || os.SameFile(info, now[path]) {
			return false
		}
	}
	return true
}

// A broker that starts again after a sync has failed, in the same process or in another one, may read from memory what is
// not on disk. It writes it once more before it trusts the disk, whether the sync was made or not; when it cannot, jobs are
// refused as before. What was accepted earlier is still there.
func TestFailedSyncIsWrittenOnceMore(t *testing.T) {
	t.Parallel()
	for name, writes := range map[string]bool{"not synced": false, "synced": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, d := t.TempDir(), &lossyDisk{writes: writes}
			live := func(name string, test func(t *testing.T, r *jobRig)) {
				t.Run(name, func(t *testing.T) {
					test(t, lossyRig(t, dir, d, nil))
				})
			}
			var first job.ID
			var shard string
			var before map[string]fs.FileInfo
			live("a sync fails", func(_ *testing.T, r *jobRig) {
				first = r.accept(r.record(), `"a"`).ID
				shard = records.ShardOf(string(first))
				d.broken.Store(true)
				r.refused(shard)
			})
			before = blocks(t, dir, shard)
			live("and all others", func(_ *testing.T, r *jobRig) { r.refused(shard) })
			if renewed(before, blocks(t, dir, shard)) {
				t.Error("a disk that cannot be synced took new files")
			}
			d.broken.Store(false)
			live("until it is mended", func(t *testing.T, r *jobRig) {
				t.Helper()
				if !renewed(before, blocks(t, dir, shard)) {
					t.Error("what may be lost was not written once more")
				}
				again := r.inShard(shard)
				r.accept(again, `"c"`)
				r.Serve(1, r.Echo, r.route)
				r.until(first, job.Succeeded)
				r.until(again.ID, job.Succeeded)
			})
			before = blocks(t, dir, shard)
			live("and trusted", func(t *testing.T, _ *jobRig) {
				t.Helper()
				if renewed(before, blocks(t, dir, shard)) {
					t.Error("files were written once more without a reason")
				}
			})
		})
	}
}

// The server may notice by itself that a stream cannot be written or synced, and starts again in place: nothing of that is
// forgotten.
func TestFailedSyncIsNotForgottenInPlace(t *testing.T) {
	t.Parallel()
	var health atomic.Value
	health.Store("")
	dir := t.TempDir()
	r := lossyRig(t, dir, new(lossyDisk), func() string {
		text, _ := health.Swap("").(string) // it holds nothing else
		return text
	})
	first := r.accept(r.record(), `"a"`)
	shard := records.ShardOf(string(first.ID))
	before := blocks(t, dir, shard)
	health.Store("JetStream stream '$G > JOBREC_" + shard + "' write error: input/output error")
	if !lanetest.Eventually(func() bool { return renewed(before, blocks(t, dir, shard)) }) {
		t.Fatal("what may be lost was not written once more")
	}
	r.Serve(1, r.Echo, r.route)
	r.until(first.ID, job.Succeeded)
	r.until(r.accept(r.record(), `"b"`).ID, job.Succeeded)
	left, err := filepath.Glob(filepath.Join(dir, "headrace.*"))
	if err != nil || strings.Contains(strings.Join(left, " "), "renewed") || strings.Contains(strings.Join(left, " "), "unsynced") {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A disk that is full when the broker starts keeps it from writing once more what may be lost; when there is room it does so by
// itself.
func TestFailedSyncWaitsForRoom(t *testing.T) { //nolint:tparallel // one life needs what another one has left
	t.Parallel()
	dir, d := t.TempDir(), new(lossyDisk)
	var shard string
	firstLife := func(t *testing.T) {
		t.Helper()
		r := lossyRig(t, dir, d, nil)
		shard = records.ShardOf(string(r.accept(r.record(), `"a"`).ID))
		d.broken.Store(true)
		r.refused(shard)
	}
	t.Run("a sync fails", firstLife)
	before := blocks(t, dir, shard)
	d.full.Store(true)
	r := lossyRig(t, dir, d, nil)
	if !lanetest.Eventually(func() bool { return r.Server.DiskFull() != nil }) {
		t.Error("no error says that the disk is full")
	}
	d.full.Store(false)
	d.broken.Store(false)
	if !lanetest.Eventually(func() bool { return renewed(before, blocks(t, dir, shard)) }) {
		t.Fatal("what may be lost was not written once more when there was room")
	}
	var err error
	if !lanetest.Eventually(func() bool {
		_, _, err = r.jobs.Accept(t.Context(), r.inShard(shard), []byte(`"c"`), lanetest.Request(r.route, `"c"`))
		return err == nil
	}) {
		t.Errorf("no job is accepted: %v", err)
	}
}

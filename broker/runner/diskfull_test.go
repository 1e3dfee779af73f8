//go:build linux

package runner_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"headrace/broker/natsd"
	"headrace/broker/records"
	"headrace/internal/fault"
	"headrace/internal/job"
	"headrace/internal/lanetest"
)

// smallDisk is a folder on a disk of its own, of so many bytes; the test is skipped where that cannot be had.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("headrace-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no small disk can be mounted here (%v); run this test as root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// diskRig is a rig for jobs whose broker has its files on a small disk; fill leaves so many bytes of it.
type diskRig struct {
	*jobRig

	filler string
	item   string
}

func newDiskRig(t *testing.T) *diskRig {
	t.Helper()
	disk := smallDisk(t, "24m")
	r := &diskRig{
		jobRig: &jobRig{Rig: lanetest.BareRig(t), route: lanetest.TestRoute("full")}, filler: filepath.Join(disk, "filler"),
		item: `"` + strings.Repeat("x", 48<<10) + `"`, // twice as much is stored, in parts
	}
	r.ServeBrokerIn(filepath.Join(disk, "data"), natsd.Config{MaxMemory: 64 << 20})
	r.Keep()
	r.Front = r.NewFront()
	r.sweep()
	r.jobs = r.newJobs()
	return r
}

func (r *diskRig) fill(leave uint64) {
	r.TB.Helper()
	var stat syscall.Statfs_t
	if err := syscall.Statfs(filepath.Dir(r.filler), &stat); err != nil {
		r.TB.Fatal(err)
	}
	if err := os.WriteFile(r.filler, make([]byte, stat.Bavail*uint64(stat.Bsize)-leave), 0o600); err != nil {
		r.TB.Fatal(err)
	}
}

func (r *diskRig) empty() {
	r.TB.Helper()
	if err := os.Remove(r.filler); err != nil {
		r.TB.Fatal(err)
	}
}

// try asks for one job; a refusal must be one that may be repeated.
func (r *diskRig) try() (job.ID, bool) {
	r.TB.Helper()
	rec, _, err := r.jobs.Accept(r.TB.Context(), r.record(), []byte(r.item), lanetest.Request(r.route, r.item))
	if f := fault.From(err); f != nil && (f.Code != fault.QueueFull && f.Code != fault.NoWorkers || f.RetryAfter <= 0) {
		r.TB.Fatal(err)
	}
	if err != nil {
		return "", false
	}
	return rec.ID, true
}

// A disk that is nearly full takes no more jobs, and what was accepted before still runs and ends on it.
func TestDiskNearlyFull(t *testing.T) {
	t.Parallel()
	r := newDiskRig(t)
	id, ok := r.try()
	if !ok {
		t.Fatal("a job is refused though there is room")
	}
	r.fill(1 << 20)
	if !lanetest.Eventually(func() bool {
		_, _, err := r.jobs.Accept(t.Context(), r.record(), []byte(`"x"`), lanetest.Request(r.route, `"x"`))
		return fault.CodeOf(err) == fault.QueueFull && strings.Contains(err.Error(), "broker.data_dir")
	}) {
		t.Fatal("a disk that is nearly full still takes jobs")
	}
	r.Serve(1, r.Echo, r.route)
	r.until(id, job.Succeeded)
	r.empty()
	if !lanetest.Eventually(func() bool { _, ok := r.try(); return ok }) {
		t.Error("nothing is accepted though there is room again")
	}
}

// A disk that is full within a moment: what is accepted is stored, and when there is room again jobs are accepted
// as before, in all streams, and everything that was accepted runs.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	r := newDiskRig(t)
	r.fill(10 << 20)
	var accepted []job.ID
	for id, ok := r.try(); ok && len(accepted) < 1000; id, ok = r.try() {
		accepted = append(accepted, id)
	}
	if len(accepted) == 0 || len(accepted) == 1000 {
		t.Fatalf("%d jobs of 100 kB were accepted by a disk with 10 MB", len(accepted))
	}
	for _, id := range accepted {
		var err error
		if !lanetest.Eventually(func() bool { // the server may have just started again
			_, err = r.jobs.Get(t.Context(), id)
			return err == nil
		}) {
			t.Errorf("job %s was accepted: %v", id, err)
		}
	}
	r.empty()
	shards := make(map[string]bool) // what works in all of them has come back
	for len(shards) < 4 {
		var id job.ID
		if !lanetest.Eventually(func() (ok bool) {
			id, ok = r.try()
			return ok
		}) {
			t.Fatal("nothing is accepted though there is room again")
		}
		accepted, shards[records.ShardOf(string(id))] = append(accepted, id), true
	}
	r.Serve(4, r.Echo, r.route)
	for _, id := range accepted {
		r.until(id, job.Succeeded)
	}
}

// A broker that starts on a full disk says so, once, is not ready, and mends itself when there is room.
func TestStartOnFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "24m")
	book := new(logBook)
	r := &diskRig{jobRig: &jobRig{Rig: lanetest.BareRig(t), route: lanetest.TestRoute("full")}, filler: filepath.Join(disk, "filler"), item: `"x"`}
	r.Log = book.logger()
	r.fill(64 << 10)
	r.ServeBrokerIn(filepath.Join(disk, "data"), natsd.Config{MaxMemory: 64 << 20})
	r.Keep()
	keeper := r.Keeper
	r.sweep()
	r.jobs = r.newJobs()
	names := func(err error) bool {
		return err != nil && strings.Contains(err.Error(), "disk") && strings.Contains(err.Error(), "broker.data_dir")
	}
	if !lanetest.Eventually(func() bool { return names(r.jobs.Ready()) && names(keeper.Ready()) }) {
		t.Fatalf("not ready because of %v, and %v; want a full disk", r.jobs.Ready(), keeper.Ready())
	}
	for range 20 {
		_, _, err := r.jobs.Accept(t.Context(), r.record(), []byte(r.item), lanetest.Request(r.route, r.item))
		lanetest.Full(r.Rig, err, "broker.data_dir")
		if _, err := r.jobs.Written(t.Context()); fault.CodeOf(err) != fault.QueueFull || !names(err) {
			t.Fatalf("a list: %v, want queue_full that names the disk", err)
		}
	}
	if lines := book.lines(); len(lines) > 10 {
		t.Errorf("%d lines were logged:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	r.empty()
	if !lanetest.Eventually(func() bool { return r.jobs.Ready() == nil && keeper.Ready() == nil }) {
		t.Fatalf("with room: %v, %v", r.jobs.Ready(), keeper.Ready())
	}
	if _, ok := r.try(); !ok {
		t.Error("no job is accepted though there is room")
	}
}

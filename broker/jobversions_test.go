package broker_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker"
	"headrace/internal/job"
)

// versions counts what the records' streams hold of a job.
func versions(t *testing.T, js jetstream.JetStream, id job.ID) uint64 {
	t.Helper()
	shard := broker.JobShard(string(id))
	stream, err := js.Stream(t.Context(), "JOBREC_"+shard)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("hrj.rec."+shard+"."+string(id)))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Subjects["hrj.rec."+shard+"."+string(id)]
}

// Where writes are synced on request a version of a record stays until a later one, the job's end, is on disk. Then it
// goes; so does the end of an earlier run, and of a job that is erased.
func TestVersionsStayUntilTheEndIsDurable(t *testing.T) {
	t.Parallel()
	r := newPowerRig(t, (*os.File).Sync)
	nc, err := nats.Connect("", r.server.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	hold, claimed, proceed := hold(r.rig)
	r.serve(1, hold, r.route)
	rec := r.accept(r.record(), `"x"`)
	await(t, claimed, "claim")
	if n := versions(t, js, rec.ID); n != 2 { // accepted, started
		t.Errorf("there are %d versions of a job that runs", n)
	}
	close(proceed)
	r.until(rec.ID, job.Succeeded)
	one := func() bool { return versions(t, js, rec.ID) == 1 }
	if !eventually(one) {
		t.Errorf("there are %d versions of a job that has ended", versions(t, js, rec.ID))
	}
	if err := r.jobs.Erase(t.Context(), rec.ID); err != nil {
		t.Fatal(err)
	}
	if !one() {
		t.Errorf("there are %d versions of a job that is erased", versions(t, js, rec.ID))
	}
	at := time.Now().Add(time.Hour)
	later := r.record()
	later.RunAt, later.Route = &at, "nobody serves" // else it might run before it is cancelled
	r.accept(later, `"`+strings.Repeat("y", 100)+`"`)
	for range 2 {
		if _, err := r.jobs.Cancel(t.Context(), later.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := r.jobs.Retry(t.Context(), later.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.jobs.Cancel(t.Context(), later.ID); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool { return versions(t, js, later.ID) == 1 }) {
		t.Errorf("there are %d versions of a job that ran three times", versions(t, js, later.ID))
	}
}

// A version is removed when what has replaced it was written before an end: one sync covers both.
func TestSupersededVersions(t *testing.T) {
	t.Parallel()
	var v broker.Versions
	take := func(want string) {
		t.Helper()
		numbers, end := v.Take()
		if got := fmt.Sprint(numbers, end); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	take("[] 0")
	v.Replaced(1, 3)
	v.Replaced(2, 4)
	take("[] 0") // nothing has ended: nobody waits for a sync
	v.Ended(3)
	take("[1] 3")
	take("[] 3")
	v.Replaced(4, 7)
	v.Replaced(3, 6)
	v.Ended(6)
	take("[2 3] 6")
	v.Ended(5) // told once more, after the connection was lost
	take("[] 6")
	v.Ended(7)
	take("[4] 7")
}

func TestRemovedVersion(t *testing.T) {
	t.Parallel()
	for answer, fails := range map[string]bool{
		`{"success":true}`: false,
		`{"error":{"code":400,"err_code":10043,"description":"sequence 7 not found"}}`:                     false,
		`{"error":{"code":500,"err_code":10057,"description":"no message found"}}`:                         false,
		`{"error":{"code":500,"err_code":10057,"description":"write: no space left on device"}}`:           true,
		`{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`: true,
		`{`: true,
		``:  true,
	} {
		if err := broker.Removed([]byte(answer)); (err != nil) != fails {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

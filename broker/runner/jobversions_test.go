package runner_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/records"
	"headrace/internal/job"
	"headrace/internal/lanetest"
)

// versions counts what the records' streams hold of a job.
func versions(t *testing.T, js jetstream.JetStream, id job.ID) uint64 {
	t.Helper()
	shard := records.ShardOf(string(id))
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
	nc, err := nats.Connect("", r.Server.InProcess())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	hold, claimed, proceed := lanetest.Hold(r.Rig)
	r.Serve(1, hold, r.route)
	rec := r.accept(r.record(), `"x"`)
	lanetest.Await(t, claimed, "claim")
	if n := versions(t, js, rec.ID); n != 2 { // accepted, started
		t.Errorf("there are %d versions of a job that runs", n)
	}
	close(proceed)
	r.until(rec.ID, job.Succeeded)
	one := func() bool { return versions(t, js, rec.ID) == 1 }
	if !lanetest.Eventually(one) {
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
	later.RunAt, later.Route = &at, "without a worker" // else it might run before it is cancelled
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
	if !lanetest.Eventually(func() bool { return versions(t, js, later.ID) == 1 }) {
		t.Errorf("there are %d versions of a job that ran three times", versions(t, js, later.ID))
	}
}

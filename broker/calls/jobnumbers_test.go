package calls_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"headrace/broker/jobs"
	"headrace/broker/link"
	"headrace/broker/records"
	"headrace/broker/sweeper"
	"headrace/internal/job"
	"headrace/internal/joblist"
	"headrace/internal/natstest"
)

// numbersRig is a rig whose broker, on another machine, can lose what it has written last.
type numbersRig struct {
	*jobRig

	broker *natstest.Server
	dir    string
	saved  string
	shard  string
}

func newNumbersRig(t *testing.T) *numbersRig {
	t.Helper()
	dir := t.TempDir()
	server := natstest.Start(t, natstest.Options{Dir: dir})
	r := &numbersRig{broker: server, dir: dir, saved: t.TempDir(), jobRig: &jobRig{rig: bareRig(t), route: testRoute("numbers")}}
	r.dial, r.shared = link.Dial{URL: server.URL()}, records.Shared{Recent: records.NewRecent(1 << 20)}
	r.keepWithin(records.Limits{MaxStore: 64 << 20})
	r.jobs = r.newJobs()
	return r
}

// save remembers what is on disk now.
func (r *numbersRig) save() {
	r.tb.Helper()
	r.broker.Stop()
	r.must(os.CopyFS(r.saved, os.DirFS(r.dir)))
	r.broker.Restart(nil)
}

// lose makes the broker start with what was saved.
func (r *numbersRig) lose() {
	r.tb.Helper()
	r.broker.Stop()
	r.must(os.RemoveAll(r.dir))
	r.must(os.CopyFS(r.dir, os.DirFS(r.saved)))
	r.broker.Restart(nil)
}

// place accepts a job of the shard once the broker is back.
func (r *numbersRig) place(item string) *job.Record {
	r.tb.Helper()
	return r.placeAs(item, job.Standard)
}

func (r *numbersRig) placeAs(item string, priority job.Priority) *job.Record {
	r.tb.Helper()
	var got *job.Record
	var err error
	for try := 0; try < 4 && got == nil; try++ { // a busy machine may need long to make the streams
		eventually(func() bool {
			rec := r.record()
			if r.shard != "" {
				rec = r.inShard(r.shard)
			}
			rec.Priority = priority
			got, _, err = r.jobs.Accept(r.tb.Context(), rec, []byte(item), request(r.route, item))
			return err == nil
		})
	}
	if err != nil {
		r.tb.Fatal(err)
	}
	r.shard = records.ShardOf(string(got.ID))
	return got
}

// list keeps a list of jobs in a file.
func (r *numbersRig) list(path string, jobs *jobs.Desk) (list *joblist.List, stop func()) {
	r.tb.Helper()
	list, err := joblist.New(path, jobs, r.log)
	r.must(err)
	stopList := background(r.tb, list.Run)
	stopFollowing := background(r.tb, func(ctx context.Context) error { return jobs.Follow(ctx, list) })
	return list, func() {
		stopFollowing()
		stopList()
	}
}

// listed waits until a list has just these jobs.
func (r *numbersRig) listed(list *joblist.List, jobs ...*job.Record) {
	r.tb.Helper()
	var want, got []job.ID
	for _, rec := range jobs {
		want = append(want, rec.ID)
	}
	slices.Sort(want)
	var err error
	if !eventually(func() bool {
		got, _, err = list.Page(r.tb.Context(), job.Filter{Limit: 100})
		slices.Sort(got)
		return err == nil && slices.Equal(got, want)
	}) {
		r.tb.Errorf("the list has %v, %v, want %v", got, err, want)
	}
}

// A broker that has lost its power gives numbers a second time: a front end that was following, and one that was away, list
// what is stored now, whether the last number they have seen is beyond the end of what there is or is another record's.
func TestJobListGivenNumbersAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		away         bool
		lost, placed int
	}{
		{"it follows, numbers are missing", false, 3, 1},
		{"it follows, numbers are others'", false, 1, 3},
		{"it was away, numbers are missing", true, 3, 1},
		{"it was away, numbers are others'", true, 1, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newNumbersRig(t)
			file := filepath.Join(t.TempDir(), "jobs.db")
			list, stop := r.list(file, r.jobs)
			jobs := []*job.Record{r.place(`"before"`)}
			r.listed(list, jobs...)
			r.save()
			all := slices.Clone(jobs)
			for range c.lost {
				all = append(all, r.place(`"lost"`))
			}
			r.listed(list, all...)
			if c.away {
				stop()
			}
			r.lose()
			for range c.placed {
				jobs = append(jobs, r.place(`"after"`))
			}
			if jobs[1].Revision != all[1].Revision {
				t.Fatalf("revision %d was not given again, but %d", all[1].Revision, jobs[1].Revision)
			}
			if c.away {
				list, _ = r.list(file, r.newJobs())
			}
			r.listed(list, jobs...)
			again := r.place(`"behind them"`)
			r.listed(list, append(jobs, again)...)
		})
	}
}

// A sweeper that was following sees to a job whose record has the number of one that was lost.
func TestSweeperGivenNumbersAgain(t *testing.T) {
	t.Parallel()
	r := newNumbersRig(t)
	sweeper, err := sweeper.New(r.dial, r.shared.Syncs, r.disk(), r.log)
	r.must(err)
	background(t, sweeper.Run)
	r.place(`"before"`)
	r.save()
	lost := r.place(`"lost"`)
	waiting := func(priority job.Priority) int {
		return sweeper.Waiting()[records.Lane{Route: r.route.Name, Priority: priority}]
	}
	if !eventually(func() bool { return waiting(job.Standard) == 2 }) {
		t.Fatalf("the sweeper knows %d jobs", waiting(job.Standard))
	}
	r.lose()
	rec := r.placeAs(`"after"`, job.Batch)
	if rec.Revision != lost.Revision {
		t.Fatalf("revision %d was not given again, but %d", lost.Revision, rec.Revision)
	}
	if !eventually(func() bool { return waiting(job.Batch) == 1 }) {
		t.Error("the sweeper does not know the job that has the number of a lost one")
	}
}

package jobs_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"headrace/broker/jobs"
	"headrace/internal/brokertest"
	"headrace/internal/job"
	"headrace/internal/joblist"
)

// list keeps a list of jobs in a file.
func keepList(r *brokertest.Lossy, path string, desk *jobs.Desk) (list *joblist.List, stop func()) {
	r.TB.Helper()
	list, err := joblist.New(path, desk, r.Log)
	if err != nil {
		r.TB.Fatal(err)
	}
	stopList := brokertest.Background(r.TB, list.Run)
	stopFollowing := brokertest.Background(r.TB, func(ctx context.Context) error { return desk.Follow(ctx, list) })
	return list, func() {
		stopFollowing()
		stopList()
	}
}

// listed waits until a list has just these jobs.
func listed(r *brokertest.Lossy, list *joblist.List, jobs ...*job.Record) {
	r.TB.Helper()
	var want, got []job.ID
	for _, rec := range jobs {
		want = append(want, rec.ID)
	}
	slices.Sort(want)
	var err error
	if !brokertest.Eventually(func() bool {
		got, _, err = list.Page(r.TB.Context(), job.Filter{Limit: 100})
		slices.Sort(got)
		return err == nil && slices.Equal(got, want)
	}) {
		r.TB.Errorf("the list has %v, %v, want %v", got, err, want)
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
			r := brokertest.NewLossy(t)
			file := filepath.Join(t.TempDir(), "jobs.db")
			list, stop := keepList(r, file, r.Desk)
			jobs := []*job.Record{r.Place(`"before"`, job.Standard)}
			listed(r, list, jobs...)
			r.Save()
			all := slices.Clone(jobs)
			for range c.lost {
				all = append(all, r.Place(`"lost"`, job.Standard))
			}
			listed(r, list, all...)
			if c.away {
				stop()
			}
			r.Lose()
			for range c.placed {
				jobs = append(jobs, r.Place(`"after"`, job.Standard))
			}
			if jobs[1].Revision != all[1].Revision {
				t.Fatalf("revision %d was not given again, but %d", all[1].Revision, jobs[1].Revision)
			}
			if c.away {
				list, _ = keepList(r, file, r.Broker.Desk(0))
			}
			listed(r, list, jobs...)
			again := r.Place(`"behind them"`, job.Standard)
			listed(r, list, append(jobs, again)...)
		})
	}
}

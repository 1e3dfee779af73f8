package joblist_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headrace/internal/fault"
	"headrace/internal/job"
	"headrace/internal/joblist"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// written is the source of what is noted by hand.
type written map[string]uint64

func (w written) Written(context.Context) (map[string]uint64, error) { return w, nil }

func run(t *testing.T, path string, source written) (list *joblist.List, stop func()) {
	t.Helper()
	list, err := joblist.New(path, source, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- list.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return list, stop
}

func entry(n int, state job.State) job.Entry {
	return job.Entry{
		ID: job.ID(fmt.Sprintf("client-%d", n)), Route: "emb", Provider: "p", Priority: job.Standard, State: state,
		CreatedAt: time.UnixMilli(1_700_000_000_000 + int64(n)), Shard: "0", Revision: uint64(n),
	}
}

func note(t *testing.T, list *joblist.List, e job.Entry) {
	t.Helper()
	if err := list.Note(t.Context(), e); err != nil {
		t.Error(err)
	}
}

func from(t *testing.T, list *joblist.List, stream string) uint64 {
	t.Helper()
	return fromIf(t, list, stream, true)
}

// fromIf is from where the past that was seen is still there or not.
func fromIf(t *testing.T, list *joblist.List, stream string, still bool) uint64 {
	t.Helper()
	n, err := list.From(t.Context(), "0", stream, func(revision uint64, at time.Time) (bool, error) {
		if !at.Equal(writtenAt(revision)) {
			t.Errorf("%d is said to be of %s", revision, at)
		}
		return still, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// writtenAt is when a number was written.
func writtenAt(revision uint64) time.Time { return time.Unix(1_700_000_000, int64(revision)) }

func page(t *testing.T, list *joblist.List, f job.Filter) string {
	t.Helper()
	if f.Limit == 0 {
		f.Limit = 10
	}
	ids, more, err := list.Page(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(fmt.Sprint(ids, more), "client-", "")
}

// A file is followed on from where it ended; a stream that was replaced makes it forget; a corrupt file is replaced.
func TestListGoesOn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list", "jobs.db")
	list, stop := run(t, path, written{"0": 3})
	if n := from(t, list, "first"); n != 0 {
		t.Errorf("a new file goes on at %d", n)
	}
	for n := 1; n <= 3; n++ {
		note(t, list, entry(n, job.Queued))
		list.Seen("0", uint64(n), writtenAt(uint64(n)))
	}
	if got := page(t, list, job.Filter{}); got != "[3 2 1] false" {
		t.Error(got)
	}
	stop()

	list, stop = run(t, path, written{"0": 4})
	if n := from(t, list, "first"); n != 4 {
		t.Errorf("it goes on at %d", n)
	}
	note(t, list, entry(2, job.Erased))
	note(t, list, entry(4, job.Queued))
	list.Seen("0", 4, writtenAt(4))
	if got := page(t, list, job.Filter{}); got != "[4 3 1] false" {
		t.Error(got)
	}
	stop()

	list, stop = run(t, path, written{})
	if n := from(t, list, "second"); n != 0 {
		t.Errorf("another stream goes on at %d", n)
	}
	if got := page(t, list, job.Filter{}); got != "[] false" {
		t.Error(got)
	}
	stop()

	if err := os.WriteFile(path, []byte("this is not a database, but long enough to be looked at as one"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, _ = run(t, path, written{})
	if n := from(t, list, "second"); n != 0 {
		t.Errorf("a spoilt file goes on at %d", n)
	}
	note(t, list, entry(1, job.Queued))
	if got := page(t, list, job.Filter{}); got != "[1] false" {
		t.Error(got)
	}
}

// A stream whose broker has lost its last writes assigns numbers again: entries of them are forgotten, at once and after a
// restart. When it is not known what the stream has, nothing is forgotten.
func TestListOfAnotherPast(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "jobs.db")
	list, stop := run(t, path, written{})
	from(t, list, "s")
	for n := 1; n <= 3; n++ {
		note(t, list, entry(n, job.Queued))
		list.Seen("0", uint64(n), writtenAt(uint64(n)))
	}
	away := errors.New("the broker is away")
	if _, err := list.From(t.Context(), "0", "s", func(uint64, time.Time) (bool, error) { return false, away }); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	if got := page(t, list, job.Filter{}); got != "[3 2 1] false" {
		t.Errorf("while the broker is away there are %s", got)
	}
	if n := fromIf(t, list, "s", false); n != 0 {
		t.Errorf("with another past it goes on at %d", n)
	}
	note(t, list, entry(2, job.Running))
	list.Seen("0", 2, writtenAt(2))
	if got := page(t, list, job.Filter{}); got != "[2] false" {
		t.Errorf("of the new past there are %s", got)
	}
	stop()

	list, _ = run(t, path, written{})
	if n := fromIf(t, list, "s", false); n != 0 {
		t.Errorf("after a restart it goes on at %d", n)
	}
	if got := page(t, list, job.Filter{}); got != "[] false" {
		t.Errorf("of a past that is gone there are %s", got)
	}
}

// When no file can be made the list is kept in memory.
func TestListInMemory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	list, _ := run(t, filepath.Join(file, "jobs.db"), written{})
	from(t, list, "s")
	note(t, list, entry(1, job.Queued))
	if got := page(t, list, job.Filter{}); got != "[1] false" {
		t.Error(got)
	}
}

// What was written before a list was requested is on it, also when it is noted only later.
func TestListWaits(t *testing.T) {
	t.Parallel()
	list, _ := run(t, filepath.Join(t.TempDir(), "jobs.db"), written{"0": 2})
	from(t, list, "s")
	note(t, list, entry(1, job.Queued))
	list.Seen("0", 1, writtenAt(1))
	asked := make(chan string, 1)
	go func() { asked <- page(t, list, job.Filter{}) }()
	note(t, list, entry(2, job.Queued))
	list.Seen("0", 2, writtenAt(2))
	if got := <-asked; got != "[2 1] false" {
		t.Error(got)
	}
}

// The latest of several changes counts, in any order of arrival; expired jobs are not listed.
func TestListLatest(t *testing.T) {
	t.Parallel()
	list, _ := run(t, filepath.Join(t.TempDir(), "jobs.db"), written{})
	from(t, list, "s")
	late, early := entry(1, job.Succeeded), entry(1, job.Running)
	late.Revision, early.Revision = 9, 8
	note(t, list, late)
	note(t, list, early)
	gone := entry(2, job.Failed)
	gone.Until = time.Now().Add(-time.Second)
	note(t, list, gone)
	if got := page(t, list, job.Filter{}); got != "[1] false" {
		t.Error(got)
	}
	if got := page(t, list, job.Filter{States: []job.State{job.Succeeded}}); got != "[1] false" {
		t.Error(got)
	}
}

// A cursor may name a job of ours that was erased; one of a client's must still be there.
func TestListCursors(t *testing.T) {
	t.Parallel()
	list, _ := run(t, filepath.Join(t.TempDir(), "jobs.db"), written{})
	from(t, list, "s")
	var ids []job.ID
	for n := range 5 {
		e := entry(n, job.Queued)
		e.ID = job.NewID(time.UnixMilli(1_700_000_000_000 + int64(n)))
		ids = append(ids, e.ID)
		note(t, list, e)
		if n == 2 {
			e.State = job.Erased
			e.Revision++
			note(t, list, e)
		}
	}
	got, more, err := list.Page(t.Context(), job.Filter{After: ids[2], Limit: 1})
	if err != nil || len(got) != 1 || got[0] != ids[1] || !more {
		t.Errorf("%v %t %v", got, more, err)
	}
	if got, more, err = list.Page(t.Context(), job.Filter{Before: ids[2], Limit: 5}); err != nil || len(got) != 2 || got[0] != ids[4] || more {
		t.Errorf("%v %t %v", got, more, err)
	}
	if _, _, err = list.Page(t.Context(), job.Filter{After: "nobody", Limit: 1}); fault.CodeOf(err) != fault.Invalid {
		t.Error(err)
	}
}

func BenchmarkNote(b *testing.B) {
	list, err := joblist.New(filepath.Join(b.TempDir(), "jobs.db"), written{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- list.Run(ctx) }()
	if _, err := list.From(b.Context(), "0", "s", nil); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		e := entry(n, job.Queued)
		e.ID = job.NewID(e.CreatedAt)
		if err := list.Note(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
	if _, _, err := list.Page(b.Context(), job.Filter{Limit: 1}); err != nil {
		b.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

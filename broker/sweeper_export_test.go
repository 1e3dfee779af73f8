package broker

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/internal/job"
)

// Learn tells a sweeper that a job's record was written: its state, its number, and when it is due.
func (s *Sweeper) Learn(r *job.Record, due, now time.Time) {
	n := &jobNews{id: r.ID, state: r.State, place: queueSubject(r), shard: jobShard(string(r.ID)), revision: r.Revision, at: now}
	if !due.IsZero() {
		n.due = instantOf(due)
	}
	s.learn(n, now)
}

// Placed tells a sweeper what a front end says it has queued.
func (s *Sweeper) Placed(text []byte) { s.notePlaced(&nats.Msg{Data: text}) }

// Next takes the job that is due, or gives "".
func (s *Sweeper) Next(now time.Time) job.ID {
	id, _ := s.next(now)
	return id
}

// Placements are what a front end has queued.
type Placements struct{ p placements }

// Add notes a job.
func (p *Placements) Add(id job.ID, revision uint64) { p.p.add(id, revision) }

// Take gives the messages to be sent now.
func (p *Placements) Take() [][]byte { return placedTexts(p.p.take()) }

// Forget is called when the broker was away.
func (p *Placements) Forget() { p.p.forget() }

// ReadPlaced reads a message and writes what it says again.
func ReadPlaced(text []byte) ([][]byte, error) {
	all, err := readPlaced(text)
	return placedTexts(all), err
}

// What tests of placements have to know.
const (
	SubjectPlaced = subjectPlaced
	MaxPlaced     = maxPlaced
)

// Versions are versions of records that later ones have replaced.
type Versions struct{ v versions }

// Replaced notes that a version was replaced.
func (v *Versions) Replaced(number, by uint64) { v.v.replaced(number, by) }

// Ended notes that a version has ended its job.
func (v *Versions) Ended(number uint64) { v.v.ended(number) }

// Take gives the numbers of the versions to be removed when everything up to end is on disk.
func (v *Versions) Take() (numbers []uint64, end uint64) {
	old, end := v.v.take()
	for _, o := range old {
		numbers = append(numbers, o.number)
	}
	return numbers, end
}

// Removed reads the server's answer about a version that was to be removed.
func Removed(answer []byte) error { return removed(answer) }

// ChangeAlways makes a move on a job's record that somebody else always writes first, and gives how often it was tried.
func (j *Jobs) ChangeAlways(ctx context.Context, id job.ID) (tries int, err error) {
	_, err = j.store.change(ctx, id, func(r *job.Record, now time.Time) (bool, error) {
		tries++
		return false, j.store.put(ctx, r.Clone(), now)
	})
	return tries, j.unread(id, err)
}

// Counting is a report of the sweeper before it has read all records, and after.
func (j *Jobs) Counting(counting bool) error {
	text := []byte(`{"lanes":[]}`)
	if counting {
		text = []byte(`{"lanes":[],"counting":true}`)
	}
	return j.queues.note(&nats.Msg{Data: text})
}

// UncountedJobs knows nothing of a broker.
func UncountedJobs() (*Jobs, error) {
	j, err := NewJobs(Dial{URL: "nats://nowhere"}, Shared{}, 0, slog.New(slog.DiscardHandler))
	if err == nil {
		close(j.ready)
	}
	return j, err
}

package records

import (
	"context"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
	"headrace/internal/job"
)

// What tests of the inside need.

// MaxPlaced bounds what is remembered of placements.
const MaxPlaced = maxPlaced

// Writing notes a record that is about to be written and gives the tag of the write.
func (m *Recent) Writing(r *job.Record, size int) string { return m.writing(r, size) }

// Written notes what became of a write.
func (m *Recent) Written(id job.ID, tag string, revision uint64) {
	m.written(id, tag, revision)
}

// Size is what is held.
func (m *Recent) Size() (records int, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.known), m.held
}

// UpTo returns when a stream's writes up to number are on disk.
func (s *Syncs) UpTo(ctx context.Context, nc *nats.Conn, stream string, number uint64) error {
	return s.of(stream).upTo(ctx, &link.Link{NC: nc}, number)
}

// Gathered is the largest number that a writer waits for.
func (s *Syncs) Gathered(stream string) uint64 {
	g := s.of(stream)
	g.mu.Lock()
	defer g.mu.Unlock()
	most := uint64(0)
	for _, f := range []*syncFlight{g.waiting, g.asking} {
		if f != nil {
			most = max(most, f.upTo)
		}
	}
	return most
}

// Removed reads the server's answer about a version that was to be removed.
func Removed(answer []byte) error { return removed(answer) }

// PlacedTexts writes placements.
func PlacedTexts(all []Placement) [][]byte { return placedTexts(all) }

// ReadPlaced reads what PlacedTexts wrote.
func ReadPlaced(text []byte) ([]Placement, error) { return readPlaced(text) }

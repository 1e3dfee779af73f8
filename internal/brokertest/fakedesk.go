package brokertest

import (
	"context"
	"time"

	"headrace/broker/records"
	"headrace/internal/job"
)

// What a desk needs beyond what a sweeper does.

// Events passes the event of every write to take.
func (f *Fake) Events(take func(records.Event)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, take)
}

// LoseEvents drops all events from now on, and counts one as dropped.
func (f *Fake) LoseEvents() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = nil
	f.dropped++
}

// Dropped returns how many events were dropped.
func (f *Fake) Dropped() (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dropped, nil
}

// PutBody is part of the store. It keeps all bodies in the record.
func (f *Fake) PutBody(_ context.Context, id job.ID, _, series string, data []byte, _ time.Duration) (b *job.Body, err error) {
	err = f.do("put body", id, func() error {
		b = &job.Body{Bytes: int64(len(data)), Series: series, Inline: data}
		return nil
	})
	return b, err
}

// Body is part of the store.
func (f *Fake) Body(_ context.Context, id job.ID, _ string, b *job.Body) (data []byte, err error) {
	err = f.do("body", id, func() error {
		if b == nil {
			return records.ErrNoBody
		}
		data = b.Inline
		return nil
	})
	return data, err
}

// Erase is part of the store.
func (f *Fake) Erase(_ context.Context, id job.ID, _ ...string) error {
	return f.do("erase", id, func() error { return nil })
}

// ForgetVersions is part of the store.
func (f *Fake) ForgetVersions(_ context.Context, id job.ID) error {
	return f.do("forget versions", id, func() error { return nil })
}

// ClaimKey is part of the store. Each key is the caller's.
func (f *Fake) ClaimKey(_ context.Context, _, _ string, mine records.KeyClaim, _ time.Duration) (records.KeyClaim, error) {
	return mine, f.do("key", mine.ID, func() error { return nil })
}

// OpenStreams is part of the store.
func (f *Fake) OpenStreams(context.Context) error {
	return f.do("open", "", func() error { return nil })
}

// Used is part of the store. Nothing is.
func (f *Fake) Used(_ context.Context, id job.ID) (float64, error) {
	return 0, f.do("used", id, func() error { return nil })
}

// List is part of the journal. It passes nothing.
func (f *Fake) List(ctx context.Context, _ string, _ records.Listing, _ func(error)) error {
	<-ctx.Done()
	return ctx.Err()
}

// Written is part of the journal.
func (f *Fake) Written(context.Context) (map[string]uint64, error) {
	return nil, f.do("written", "", func() error { return nil })
}

// Pause is part of the journal.
func (f *Fake) Pause(context.Context, string, bool) error {
	return f.do("pause", "", func() error { return nil })
}

// ForgetPauses is part of the journal.
func (f *Fake) ForgetPauses(context.Context, string) error {
	return f.do("forget pauses", "", func() error { return nil })
}

// Position is part of the queues. It is never known.
func (f *Fake) Position(context.Context, *job.Record) (uint64, bool) { return 0, false }

// TellPlaced is part of the wire.
func (f *Fake) TellPlaced([]records.Placement) error {
	return f.do("tell placed", "", func() error { return nil })
}

// Cancel is part of the wire.
func (f *Fake) Cancel(id job.ID) error {
	return f.do("tell cancel", id, func() error { return nil })
}

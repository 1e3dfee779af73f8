package keeper

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headrace/broker/link"
)

// sinceMark in a stream's metadata is when the broker role was started that has decided its limits last, in milliseconds of Unix time.
const sinceMark = "headrace-since"

// decided is a stream as it should be from now on.
type decided struct {
	config jetstream.StreamConfig
	change bool // it is not so yet
	theirs bool // another broker role, which was started later, has other limits, which stand
}

// decide says how a stream should be, for a broker role that was started at since and wants should. Of several broker roles with
// different settings the one that was started last decides, so that they do not rewrite each other's streams for ever. Messages
// are never kept for a shorter time than before: a front end with another configuration may rely on it.
func decide(is, should jetstream.StreamConfig, since time.Time) decided {
	should.MaxAge = max(is.MaxAge, should.MaxAge)
	if sameLimits(is, should) {
		return decided{config: is}
	}
	mark := strconv.FormatInt(since.UnixMilli(), 10)
	if theirs, err := strconv.ParseInt(is.Metadata[sinceMark], 10, 64); err == nil && theirs > since.UnixMilli() {
		longer := is
		longer.MaxAge = should.MaxAge
		return decided{config: longer, change: longer.MaxAge != is.MaxAge, theirs: true}
	}
	should.Metadata = maps.Clone(should.Metadata)
	if should.Metadata == nil {
		should.Metadata = make(map[string]string, 1)
	}
	should.Metadata[sinceMark] = mark
	return decided{config: should, change: true}
}

// sameLimits compares the parts of a configuration that can change. Servers write -1 where ours has nothing.
func sameLimits(is, should jetstream.StreamConfig) bool {
	limit := func(n int64) int64 { return max(n, 0) }
	return slices.Equal(is.Subjects, should.Subjects) && is.MaxAge == should.MaxAge && is.Replicas == should.Replicas && is.AllowDirect == should.AllowDirect &&
		limit(is.MaxBytes) == limit(should.MaxBytes) && limit(is.MaxMsgs) == limit(should.MaxMsgs) &&
		limit(is.MaxMsgsPerSubject) == limit(should.MaxMsgsPerSubject) &&
		limit(int64(is.MaxConsumers)) == limit(int64(should.MaxConsumers)) && is.Metadata[link.SyncMark] == should.Metadata[link.SyncMark]
}

const (
	// silentAgain is how long the keeper remembers that the servers did not answer for a stream.
	silentAgain = time.Second
	// lostAlone is how long a stream in memory with one copy must be silent before it is made again, and lostTogether the same for
	// one with several copies, which elects another leader if it can, within ten seconds.
	lostAlone    = 2 * time.Second
	lostTogether = 20 * time.Second
)

// silence is what a keeper knows of streams for which the servers do not answer.
type silence map[string]quiet

// quiet is one such stream.
type quiet struct {
	since time.Time
	asked time.Time // when last
	err   error
}

// heard notes that the servers have answered for a stream.
func (s silence) heard(stream string) { delete(s, stream) }

// recent is the error that was met a moment ago, or nil when the servers should be asked.
func (s silence) recent(stream string, now time.Time) error {
	if q, ok := s[stream]; ok && now.Sub(q.asked) < silentAgain {
		return q.err
	}
	return nil
}

// met notes that they do not answer, and reports whether the stream counts as lost: what is in memory only is made again then.
func (s silence) met(config *jetstream.StreamConfig, now time.Time, err error) (lost bool) {
	q := s[config.Name]
	if q.since.IsZero() {
		q.since = now
	}
	q.asked, q.err = now, err
	s[config.Name] = q
	patience := lostAlone
	if config.Replicas > 1 {
		patience = lostTogether
	}
	return config.Storage == jetstream.MemoryStorage && now.Sub(q.since) >= patience
}

package calls

import (
	"context"
	"encoding/json"
	"time"

	"headrace/broker/link"
)

const (
	// lostAfterWait is how long a call must have waited, since it was last published, before its message is looked for.
	lostAfterWait = 2 * time.Second
	// lostLook is how long the servers have to find it.
	lostLook = time.Second
)

// seeker finds out whether the messages of waiting calls are still in their streams. These are in memory: one is lost with its
// server unless others have a copy.
type seeker struct {
	calls *callTable
	inbox *inbox
	post  *post
}

// oldest gives, of each stream, the call that has waited the longest since it was published and acknowledged: a message that is
// lost stays the oldest.
func (s *seeker) oldest(now time.Time) map[string]*call {
	oldest := make(map[string]*call)
	for _, c := range s.calls.all() {
		at, ok := c.stored()
		if !ok || now.Sub(at) < lostAfterWait {
			continue
		}
		if first := oldest[c.lane.Stream]; first != nil {
			if since, _ := first.stored(); since.Before(at) {
				continue
			}
		}
		oldest[c.lane.Stream] = c
	}
	return oldest
}

// look looks for the oldest message of one stream. When it is gone, all calls that were waiting in the stream are published again;
// a copy that is found after all is run once, because claims are answered.
func (s *seeker) look(ctx context.Context, c *call) {
	began := time.Now()
	sequence := c.acknowledged()
	if sequence == 0 {
		return
	}
	there, known := s.find(ctx, c, sequence)
	if !known {
		s.post.forget(c.lane.Stream)
		s.post.report(c.lane.Stream)
	}
	if there || !known {
		return
	}
	again := 0
	for _, other := range s.calls.all() {
		if other.lane.Stream == c.lane.Stream && other.lose(began) {
			s.inbox.repeat(other)
			again++
		}
	}
	if again > 0 {
		s.post.log.Warn("requests were lost with their server; they are sent again", "stream", c.lane.Stream, "requests", again)
	}
}

// find looks for the message of a call; known is false when the servers do not answer. A number may have been given a second
// time, so that the message is another one's.
func (s *seeker) find(ctx context.Context, c *call, sequence uint64) (there, known bool) {
	ctx, cancel := context.WithTimeout(ctx, lostLook)
	defer cancel()
	question, err := json.Marshal(struct {
		Sequence uint64 `json:"seq"`
	}{sequence})
	if err != nil {
		return false, false
	}
	msg, err := s.post.link.NC.RequestWithContext(ctx, link.SubjectAPIGet+c.lane.Stream, question)
	if err != nil {
		return false, false
	}
	if status := msg.Header.Get("Status"); status != "" {
		return false, status == "404"
	}
	e, err := decodeEnvelope(msg.Data)
	return err == nil && e.frontEnd == s.post.id && e.call == c.id, true
}

// stored reports since when a waiting call's message is in its stream.
func (c *call) stored() (at time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.published, c.state == callWaiting && c.sequence != 0
}

// acknowledged is the number of a waiting call's message; 0 when there is none.
func (c *call) acknowledged() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != callWaiting {
		return 0
	}
	return c.sequence
}

// lose forgets the message of a waiting call that was published before a time, and reports whether there was one.
func (c *call) lose(before time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != callWaiting || c.sequence == 0 || !c.published.Before(before) {
		return false
	}
	c.sequence = 0
	return true
}

package broker

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// subjectLane is where workers ask the keeper for the consumer of a lane.
	subjectLane = "hr.keeper.lane"
	// wishAgain is how often a worker asks while it has no answer.
	wishAgain = 2 * time.Second
	// wishLife is the age at which the keeper drops a wish that was not repeated: its worker wants the consumer no
	// longer, or is gone.
	wishLife = 4 * wishAgain
	// jobLaneLife is the idle time after which the durable of a job lane goes by itself.
	jobLaneLife = 24 * time.Hour
)

// laneWish asks for a lane's consumer. The answer is "+" when it exists, else an error's text; it may take as long as
// other lanes have their turns, and none comes when the wish was dropped.
type laneWish struct {
	Stream   string        `json:"stream"`
	Consumer string        `json:"consumer"`
	Subject  string        `json:"subject"`
	AckWait  time.Duration `json:"ack_wait"` // in nanoseconds
}

const wishGranted = "+"

func readWish(text []byte) (*laneWish, error) {
	w := new(laneWish)
	if err := json.Unmarshal(text, w); err != nil {
		return nil, fmt.Errorf("a wish for a consumer: %w", err)
	}
	if w.Consumer == "" || w.Subject == "" || w.AckWait <= 0 || !w.jobs() && !w.calls() {
		return nil, fmt.Errorf("a wish for a consumer: %.200q is incomplete", text)
	}
	return w, nil
}

func (w *laneWish) calls() bool {
	_, ok := shardOfStream(w.Stream)
	return ok
}

func (w *laneWish) jobs() bool { return strings.HasPrefix(w.Stream, queueStream) }

// config is that of the lane's durable. Attempts of jobs are counted in their records, not by deliveries, and their
// consumer should outlive the longest of them.
func (w *laneWish) config() jetstream.ConsumerConfig {
	c := jetstream.ConsumerConfig{
		Durable:           w.Consumer,
		FilterSubject:     w.Subject,
		AckPolicy:         jetstream.AckExplicitPolicy,
		AckWait:           w.AckWait,
		MaxDeliver:        maxDeliver,
		MaxAckPending:     10_000,
		MaxWaiting:        8192,
		MemoryStorage:     true,
		InactiveThreshold: dormantAfter,
	}
	if w.jobs() {
		c.MaxDeliver, c.MemoryStorage, c.InactiveThreshold = -1, false, jobLaneLife
	}
	return c
}

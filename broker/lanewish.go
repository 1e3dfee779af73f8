package broker

import (
	"cmp"
	"encoding/json"
	"fmt"
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
)

// laneWish asks for a lane's consumer. The answer is "+" when it exists, else an error's text; it may take as long as
// other lanes have their turns, and none comes when the wish was dropped.
type laneWish struct {
	Stream     string        `json:"stream"`
	Consumer   string        `json:"consumer"`
	Subject    string        `json:"subject"`
	AckWait    time.Duration `json:"ack_wait"`              // in nanoseconds, as all here
	MaxDeliver int           `json:"max_deliver,omitempty"` // 0: as often as it takes
	Memory     bool          `json:"memory,omitempty"`      // its state need not outlive the server
	Life       time.Duration `json:"life"`                  // without a pull, after which it goes by itself
}

const wishGranted = "+"

func readWish(text []byte) (*laneWish, error) {
	w := new(laneWish)
	if err := json.Unmarshal(text, w); err != nil {
		return nil, fmt.Errorf("a wish for a consumer: %w", err)
	}
	if w.Stream == "" || w.Consumer == "" || w.Subject == "" || w.AckWait <= 0 || w.Life <= 0 {
		return nil, fmt.Errorf("a wish for a consumer: %.200q is incomplete", text)
	}
	return w, nil
}

// durable is the configuration of a lane's consumer.
func durable(w *laneWish) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:           w.Consumer,
		FilterSubject:     w.Subject,
		AckPolicy:         jetstream.AckExplicitPolicy,
		AckWait:           w.AckWait,
		MaxDeliver:        cmp.Or(w.MaxDeliver, -1),
		MaxAckPending:     10_000,
		MaxWaiting:        8192,
		MemoryStorage:     w.Memory,
		InactiveThreshold: w.Life,
	}
}

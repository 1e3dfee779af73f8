package link

import (
	"encoding/json"
	"fmt"
	"time"
)

const (
	// SubjectWish is where workers ask the keeper for the consumer of a lane.
	SubjectWish = "hr.keeper.lane"
	// WishAgain is how often a worker asks while it has no answer.
	WishAgain = 2 * time.Second
	// WishLife is the age at which the keeper drops a wish that was not repeated: its worker no longer wants the consumer,
	// or has died.
	WishLife = 4 * WishAgain
)

// Wish requests a lane's consumer. The answer is WishGranted when the consumer exists, otherwise the text of an error. It
// may take as long as other lanes have their turns; a dropped wish gets no answer.
type Wish struct {
	Stream     string        `json:"stream"`
	Consumer   string        `json:"consumer"`
	Subject    string        `json:"subject"`
	AckWait    time.Duration `json:"ack_wait"`              // in nanoseconds, as all here
	MaxDeliver int           `json:"max_deliver,omitempty"` // 0: as often as it takes
	Memory     bool          `json:"memory,omitempty"`      // its state need not outlive the server
	Life       time.Duration `json:"life"`                  // without a pull, after which it goes by itself
}

// WishGranted is the answer to a wish whose consumer exists.
const WishGranted = "+"

// ReadWish reads a wish. It returns an error when the wish is incomplete.
func ReadWish(text []byte) (*Wish, error) {
	w := new(Wish)
	if err := json.Unmarshal(text, w); err != nil {
		return nil, fmt.Errorf("a wish for a consumer: %w", err)
	}
	if w.Stream == "" || w.Consumer == "" || w.Subject == "" || w.AckWait <= 0 || w.Life <= 0 {
		return nil, fmt.Errorf("a wish for a consumer: %.200q is incomplete", text)
	}
	return w, nil
}

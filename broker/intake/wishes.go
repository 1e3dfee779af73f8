package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"

	"headrace/broker/link"
)

// wishes are the consumers that a worker has asked the keeper for. Nothing here waits.
type wishes struct {
	inbox string // prefix of the answers' subjects; a stream's and a consumer's name follow

	mu      sync.Mutex
	waiting map[string]map[*puller]struct{} // by the answer's subject
}

// newWishes returns an empty set; answers come to subjects that begin with inbox.
func newWishes(inbox string) *wishes {
	return &wishes{inbox: inbox, waiting: make(map[string]map[*puller]struct{})}
}

// reply is the subject of the answer, from which the lane is told.
func (w *wishes) reply(q Queue) string { return w.inbox + q.Stream + "." + q.Consumer }

// ask asks for the consumer of a puller's lane; granted tells the puller the answer. One that does not come was lost.
func (w *wishes) ask(nc *nats.Conn, p *puller) error {
	text, err := json.Marshal(p.queue.Wish)
	if err != nil {
		return err
	}
	reply := w.reply(p.queue)
	w.mu.Lock()
	if w.waiting[reply] == nil {
		w.waiting[reply] = make(map[*puller]struct{})
	}
	w.waiting[reply][p] = struct{}{}
	w.mu.Unlock()
	return nc.PublishRequest(link.SubjectWish, reply, text)
}

// answer takes the keeper's word, or the server's that there is no keeper.
func (w *wishes) answer(msg *nats.Msg) {
	w.mu.Lock()
	pullers := w.waiting[msg.Subject]
	delete(w.waiting, msg.Subject)
	w.mu.Unlock()
	var err error
	switch {
	case msg.Header.Get("Status") != "":
		err = errors.New("no broker role answers")
	case string(msg.Data) != link.WishGranted:
		err = fmt.Errorf("the broker role cannot make it: %s", msg.Data)
	}
	for p := range pullers {
		p.granted(err)
	}
}

// remove forgets what a puller asked for.
func (w *wishes) remove(p *puller) {
	w.mu.Lock()
	defer w.mu.Unlock()
	reply := w.reply(p.queue)
	delete(w.waiting[reply], p)
	if len(w.waiting[reply]) == 0 {
		delete(w.waiting, reply)
	}
}

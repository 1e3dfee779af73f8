package client

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
)

// maxEvent bounds one line of a stream of events, in bytes.
const maxEvent = 32 << 20

// Event is one thing that happened to a job.
type Event struct {
	Kind string // snapshot, status, done
	ID   string // the revision of the job's record
	Data []byte // JSON; only good until take returns
}

// Follow gives each event of a stream to take, until one of the kind done. A stream that breaks off is taken up again behind
// its last event, as often as the gateway's absence is borne.
func (p *Patience) Follow(ctx context.Context, path string, take func(Event) error) error {
	last := ""
	for {
		err := p.stream(ctx, path, &last, take)
		if err == nil {
			return nil
		}
		if err := p.Bear(ctx, err); err != nil {
			return err
		}
	}
}

// stream reads one stream from behind the event last, which it moves on. nil: the job has ended.
func (p *Patience) stream(ctx context.Context, path string, last *string, take func(Event) error) error {
	header := make(http.Header)
	if *last != "" {
		header.Set("Last-Event-ID", *last)
	}
	resp, err := p.Client.Send(ctx, http.MethodGet, path, nil, header)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // the stream is over
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return cmp.Or(err, Refusal(resp, answer))
	}
	p.Reached()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	var e Event
	for lines.Scan() {
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
		switch string(name) {
		case "id":
			e.ID = string(value)
		case "event":
			e.Kind = string(value)
		case "data":
			p.Here() // there was news
			e.Data = value
			if err := take(e); err != nil {
				return err
			}
			*last = e.ID
			if e.Kind == "done" {
				return nil
			}
		}
	}
	return &AwayError{cause: cmp.Or(causeOr(ctx, lines.Err()), errors.New("the gateway has ended the events"))}
}

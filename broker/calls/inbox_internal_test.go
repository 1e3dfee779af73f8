package calls

import (
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/intake"
	"headrace/broker/link"
	"headrace/internal/budget"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// solo is a front end without a connection that has one call, number 1, in flight.
type solo struct {
	f *FrontEnd
	c *call
}

// newSolo makes one.
func newSolo(t *testing.T) *solo {
	t.Helper()
	route := &inference.Route{Name: "solo", Type: inference.Embeddings, Provider: "mlflow-model-serving", SyncTimeout: time.Minute, MaxWaiting: 1, Slots: 1}
	f, err := NewFrontEnd(link.Dial{URL: "nats://nowhere"}, nil, budget.New(math.MaxInt64), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f.post.link = &link.Link{} // whose nil connection refuses everything
	c := &call{
		id: 1, route: route, lane: link.LaneOf(route), deadline: time.Now().Add(time.Hour), began: time.Now(),
		outcome: make(chan outcome, 1), again: make(chan struct{}, 1),
	}
	f.calls.put(c)
	return &solo{f, c}
}

// receive hands the front end a message on the part of its inbox called tail, and gives what that made of the call; nil is
// nothing.
func (s *solo) receive(tail, status string, data []byte) *outcome {
	msg := &nats.Msg{Subject: link.PrefixFrontEnd + s.f.id + "." + tail, Data: data}
	if status != "" {
		msg.Header = nats.Header{"Status": []string{status}}
	}
	s.f.receive(msg)
	select {
	case o := <-s.c.outcome:
		return &o
	default:
		return nil
	}
}

// What a front end's inbox gets ends the call at most once and never with more than was sent.
func FuzzFrontEndInbox(f *testing.F) {
	var w link.Writer
	link.WriteResult(&w, &inference.Result{Items: [][]byte{[]byte(`"a"`)}})
	segments, _ := w.Finish()
	result := link.Joined(nil, segments)
	for tail, messages := range map[string][][]byte{
		"-f": {
			append([]byte{'R', 1}, result...),
			{'R', 1, 0xff},
			anyFrame{Kind: 'C', Call: 1, Name: "W"}.encode(),
			anyFrame{Kind: 'O', Call: 1, Ref: link.ParcelRef{Holder: "W", ID: 4, Size: 5}}.encode(),
			failFrame(1, fault.New(fault.Internal, "m")),
			{'Z', 1},
		},
		"1": {
			[]byte(`{"stream":"INFER_1","seq":7}`), []byte(`{"error":{"code":503,"err_code":10077,"description":"full"}}`),
			[]byte(`{"seq":-1}`), []byte(`{"error":null}`), []byte(`null`), nil,
		},
		"p-W": {anyFrame{Kind: 'Q', Calls: []uint64{1, 2}}.encode(), {'Q', 0, 0xff, 0xff, 0xff, 0x0f}, nil},
	} {
		for _, m := range messages {
			f.Add(tail, "", m)
		}
		f.Add(tail, "503", []byte(nil))
	}
	f.Fuzz(func(t *testing.T, tail, status string, data []byte) {
		for _, withdrawn := range []bool{false, true} {
			s := newSolo(t)
			if withdrawn {
				s.f.leave(s.c)
			}
			o := s.receive(tail, status, data)
			if withdrawn && o != nil {
				t.Fatalf("an outcome for a caller that has gone: %+v", o)
			}
			if o == nil {
				continue
			}
			given := 0
			for _, is := range []bool{o.result != nil, o.err != nil, o.offer != nil} {
				if is {
					given++
				}
			}
			if given != 1 || o.result != nil && o.result.Size() > int64(len(data)) {
				t.Fatalf("%q ended the call with %+v", data, o)
			}
		}
	})
}

func FuzzWorkerInbox(f *testing.F) {
	for _, frame := range []anyFrame{
		{Kind: 'K', Call: 1, Name: "F"},
		{Kind: 'P', Name: "F", Calls: []uint64{1, 2}},
		{Kind: 'G', Call: 1, Left: time.Minute},
		{Kind: 'G', Call: 1, Left: 1 << 62},
		{Kind: 'X', Call: 1},
	} {
		f.Add(frame.encode())
	}
	for _, n := range hostile() {
		f.Add(append([]byte{'G', 1}, n...))
		f.Add(append([]byte{'P', 0, 0}, n...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := NewAnswerer(link.Dial{URL: "nats://nowhere"}, nil, budget.New(math.MaxInt64), slog.New(slog.DiscardHandler))
		a.line = &intake.Line{ID: "W", Link: &link.Link{}} // whose nil connection refuses everything
		a.receiveControl(&nats.Msg{Subject: link.PrefixWorker + "W.c", Data: data})
		reply, waiting, forget := a.expect()
		defer forget()
		a.receiveAnswer(&nats.Msg{Subject: reply, Data: data})
		answer := <-waiting
		if frame, ok := readFrame(data); answer.granted != (ok && frame.Kind == 'G') || answer.left < 0 {
			t.Fatalf("%q granted a call: %v, for %s", data, answer.granted, answer.left)
		}
	})
}

// An answer of the same process that finds its call in the moment in which the caller leaves is given back.
func TestAnswerForNobody(t *testing.T) {
	t.Parallel()
	s := newSolo(t)
	s.f.leave(s.c)
	released := 0
	result := new(inference.Result)
	result.OnRelease(func() { released++ })
	s.c.end(outcome{result: result})
	if released != 1 {
		t.Errorf("the answer's bytes were given back %d times, want once", released)
	}
}

// A publish that is repeated, because its acknowledgement was late, may be refused: the first one still counts.
func TestRepetitionRefused(t *testing.T) {
	t.Parallel()
	const stored, refused = `{"stream":"INFER_1","seq":7}`, `{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}`
	for name, c := range map[string]struct {
		messages []string
		ends     bool
	}{
		"refused":             {[]string{refused}, true},
		"stored":              {[]string{stored}, false},
		"stored then refused": {[]string{stored, refused}, false},
	} {
		s := newSolo(t)
		var o *outcome
		for _, m := range c.messages {
			o = s.receive("1", "", []byte(m))
		}
		if (o != nil) != c.ends || o != nil && fault.CodeOf(o.err) != fault.QueueFull {
			t.Errorf("%s: got %+v", name, o)
		}
		if !c.ends && s.c.sequence != 7 {
			t.Errorf("%s: the message is at %d, want 7", name, s.c.sequence)
		}
	}
}

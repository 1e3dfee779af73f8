package calls_test

import (
	"testing"
	"time"

	"headrace/broker/calls"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// What a front end's inbox gets ends the call at most once and never with more than was sent.
func FuzzFrontEndInbox(f *testing.F) {
	result := calls.EncodeResult(&inference.Result{Items: [][]byte{[]byte(`"a"`)}})
	for tail, messages := range map[string][][]byte{
		"-f": {
			append([]byte{'R', 1}, result...),
			{'R', 1, 0xff},
			calls.Frame{Kind: 'C', Call: 1, Name: "W"}.Encode(),
			calls.Frame{Kind: 'O', Call: 1, Ref: calls.Ref{Holder: "W", ID: 4, Size: 5}}.Encode(),
			calls.EncodeFail(1, fault.New(fault.Internal, "m")),
			{'Z', 1},
		},
		"1": {
			[]byte(`{"stream":"INFER_1","seq":7}`), []byte(`{"error":{"code":503,"err_code":10077,"description":"full"}}`),
			[]byte(`{"seq":-1}`), []byte(`{"error":null}`), []byte(`null`), nil,
		},
		"p-W": {calls.Frame{Kind: 'Q', Calls: []uint64{1, 2}}.Encode(), {'Q', 0, 0xff, 0xff, 0xff, 0x0f}, nil},
	} {
		for _, m := range messages {
			f.Add(tail, "", m)
		}
		f.Add(tail, "503", []byte(nil))
	}
	f.Fuzz(func(t *testing.T, tail, status string, data []byte) {
		for _, withdrawn := range []bool{false, true} {
			s, err := calls.NewSolo(testRoute("solo"))
			if err != nil {
				t.Fatal(err)
			}
			if withdrawn {
				s.Withdraw()
			}
			o := s.Receive(tail, status, data)
			if withdrawn && o.Ended {
				t.Fatalf("an outcome for a caller that has gone: %+v", o)
			}
			if !o.Ended {
				continue
			}
			given := 0
			for _, is := range []bool{o.Result != nil, o.Err != nil, o.Offer != nil} {
				if is {
					given++
				}
			}
			if given != 1 || o.Result != nil && o.Result.Size() > int64(len(data)) {
				t.Fatalf("%q ended the call with %+v", data, o)
			}
		}
	})
}

func FuzzWorkerInbox(f *testing.F) {
	for _, frame := range []calls.Frame{
		{Kind: 'K', Call: 1, Name: "F"},
		{Kind: 'P', Name: "F", Calls: []uint64{1, 2}},
		{Kind: 'G', Call: 1, Left: time.Minute},
		{Kind: 'G', Call: 1, Left: 1 << 62},
		{Kind: 'X', Call: 1},
	} {
		f.Add(frame.Encode())
	}
	for _, n := range hostile() {
		f.Add(append([]byte{'G', 1}, n...))
		f.Add(append([]byte{'P', 0, 0}, n...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := calls.NewSoloWorker(testRoute("solo"))
		if err != nil {
			t.Fatal(err)
		}
		w.Control(data)
		granted, left := w.Answer(data)
		if frame, ok := calls.DecodeFrame(data); granted != (ok && frame.Kind == 'G') || left < 0 {
			t.Fatalf("%q granted a call: %v, for %s", data, granted, left)
		}
	})
}

// Whatever a pull brings, it accepts whole envelopes only, and never believes to have more coming than it
// asked for.
func FuzzPulled(f *testing.F) {
	whole := calls.Envelope{FrontEnd: "F", Route: "solo"}
	f.Add(3, "", "", whole.Encode())
	f.Add(1, "", "", []byte("junk"))
	for _, status := range []string{"100", "404", "408", "409", "503", "abc"} {
		f.Add(5, status, "2", []byte(nil))
		f.Add(5, status, "-7", []byte(nil))
		f.Add(5, status, "99999999999999999999", []byte(nil))
	}
	f.Fuzz(func(t *testing.T, credit int, status, pending string, data []byte) {
		if credit < 0 {
			return
		}
		w, err := calls.NewSoloWorker(testRoute("solo"))
		if err != nil {
			t.Fatal(err)
		}
		header := map[string]string{"Nats-Pending-Messages": pending}
		if status != "" {
			header["Status"] = status
		}
		left, accepted := w.Pulled(credit, header, data)
		if left < 0 || left > credit {
			t.Fatalf("of %d messages %d are to come after %q %q", credit, left, status, pending)
		}
		_, err = calls.DecodeEnvelope(data)
		if want := err == nil && (status == "" || len(data) > 0); (accepted == 1) != want {
			t.Fatalf("accepted %d of %q", accepted, data)
		}
	})
}

// An answer of the same process that finds its call in the moment in which the caller leaves is given back.
func TestAnswerForNobody(t *testing.T) {
	t.Parallel()
	s, err := calls.NewSolo(testRoute("solo"))
	if err != nil {
		t.Fatal(err)
	}
	s.Withdraw()
	released := 0
	result := new(inference.Result)
	result.OnRelease(func() { released++ })
	s.AnswerLate(result)
	if released != 1 {
		t.Errorf("the answer's bytes were given back %d times, want once", released)
	}
}

package broker_test

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"testing"
	"time"

	"headrace/broker"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// What a front end's inbox gets ends the call at most once and never with more than was sent.
func FuzzFrontEndInbox(f *testing.F) {
	result := broker.EncodeResult(&inference.Result{Items: [][]byte{[]byte(`"a"`)}})
	for tail, messages := range map[string][][]byte{
		"-f": {
			append([]byte{'R', 1}, result...),
			{'R', 1, 0xff},
			broker.Frame{Kind: 'C', Call: 1, Name: "W"}.Encode(),
			broker.Frame{Kind: 'O', Call: 1, Ref: broker.Ref{Holder: "W", ID: 4, Size: 5}}.Encode(),
			broker.EncodeFail(1, fault.New(fault.Internal, "m")),
			{'Z', 1},
		},
		"1": {
			[]byte(`{"stream":"INFER_1","seq":7}`), []byte(`{"error":{"code":503,"err_code":10077,"description":"full"}}`),
			[]byte(`{"seq":-1}`), []byte(`{"error":null}`), []byte(`null`), nil,
		},
		"p-W": {broker.Frame{Kind: 'Q', Calls: []uint64{1, 2}}.Encode(), {'Q', 0, 0xff, 0xff, 0xff, 0x0f}, nil},
	} {
		for _, m := range messages {
			f.Add(tail, "", m)
		}
		f.Add(tail, "503", []byte(nil))
	}
	f.Fuzz(func(t *testing.T, tail, status string, data []byte) {
		for _, withdrawn := range []bool{false, true} {
			s, err := broker.NewSolo(testRoute("solo"))
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
	for _, frame := range []broker.Frame{
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
		w, err := broker.NewSoloWorker(testRoute("solo"))
		if err != nil {
			t.Fatal(err)
		}
		w.Control(data)
		granted, left := w.Answer(data)
		if frame, ok := broker.DecodeFrame(data); granted != (ok && frame.Kind == 'G') || left < 0 {
			t.Fatalf("%q granted a call: %v, for %s", data, granted, left)
		}
	})
}

// Whatever a pull brings, it accepts whole envelopes only, and never believes to have more coming than it
// asked for.
func FuzzPulled(f *testing.F) {
	whole := broker.Envelope{FrontEnd: "F", Route: "solo"}
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
		w, err := broker.NewSoloWorker(testRoute("solo"))
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
		_, err = broker.DecodeEnvelope(data)
		if want := err == nil && (status == "" || len(data) > 0); (accepted == 1) != want {
			t.Fatalf("accepted %d of %q", accepted, data)
		}
	})
}

func FuzzParcelAsk(f *testing.F) {
	f.Add(broker.AskFor(1, 0, 10), []byte("0123456789"), 3, int64(0), int64(10))
	f.Add(broker.AskFor(1, 0, 0), []byte("0123456789"), 10, int64(5), int64(5))
	f.Add(broker.AskFor(1, 1<<62, broker.PieceSize+1), []byte("0123456789"), 0, int64(9), int64(2))
	f.Add(broker.AskFor(1, -1, -1), []byte("x"), 1, int64(1)<<62, int64(1)<<62)
	f.Fuzz(func(t *testing.T, ask, whole []byte, cut int, offset, size int64) {
		p := broker.NewParcels()
		cut = min(max(cut, 0), len(whole))
		id := p.Hold([][]byte{whole[:cut], whole[cut:]}, int64(len(whole)))
		size = min(size, broker.PieceSize) // more is refused before
		offset &= 1<<62 - 1
		got := p.Slice(id, offset, size)
		if inside := size > 0 && offset+size <= int64(len(whole)); inside != (got != nil) {
			t.Fatalf("%d bytes from %d on of %d: %d", size, offset, len(whole), len(got))
		} else if inside && !bytes.Equal(got, whole[offset:offset+size]) {
			t.Fatalf("got %q, want %q", got, whole[offset:offset+size])
		}
		p.Ask(ask)
		if p.Held() == 0 && !bytes.HasPrefix(ask, []byte{1}) {
			t.Fatalf("%x dropped the parcel", ask)
		}
	})
}

func FuzzParcelPiece(f *testing.F) {
	f.Add(10, "", []byte("\x000123456789"))
	f.Add(broker.PieceSize+3, "", []byte("\x01abc"))
	f.Add(broker.PieceSize, "", []byte("\x01"))
	f.Add(5, "503", []byte(nil))
	for _, n := range hostile() {
		f.Add(5, "", n)
	}
	f.Add(5, "", append(binary.AppendUvarint(nil, 1<<46), "01234"...)) // whose offset wraps around to 0
	f.Fuzz(func(t *testing.T, size int, status string, data []byte) {
		size &= 1<<20 - 1
		buf, piece, err := broker.NewParcels().Take(size, status, data)
		if len(buf) != size {
			t.Fatalf("the buffer has %d bytes, want %d", len(buf), size)
		}
		if piece < 0 || err != nil {
			if bytes.Count(buf, []byte{0}) != size {
				t.Fatal("a refused piece was written")
			}
			return
		}
		number, head := binary.Uvarint(data)
		at := piece * broker.PieceSize
		if number != uint64(piece) || !bytes.Equal(buf[at:min(at+broker.PieceSize, size)], data[head:]) {
			t.Fatalf("piece %d is not what came", piece)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("emb.v1", "emb_2ev1")
	f.Add("INFER_1", "INFER_01")
	f.Add("", "é*>")
	f.Add("INFER_-0", "INFER_16")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := broker.Token(a), broker.Token(b)
		if (a == b) != (x == y) {
			t.Fatalf("%q and %q are called %q and %q", a, b, x, y)
		}
		if len(x) > 3*len(a) || strings.ContainsAny(x, ".*> \t\r\n/\\") {
			t.Fatalf("%q is no token", x)
		}
		if shard, ok := broker.ShardOfStream(a); ok && (shard < 0 || shard >= broker.Shards || a != "INFER_"+strconv.Itoa(shard)) {
			t.Fatalf("%q is taken for shard %d", a, shard)
		}
	})
}

// An answer of the same process that finds its call in the moment in which the caller leaves is given back.
func TestAnswerForNobody(t *testing.T) {
	t.Parallel()
	s, err := broker.NewSolo(testRoute("solo"))
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

package broker_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"headrace/broker"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// parts sums up lengths and number of lists, to compare with what they were read from: every part costs at
// least a byte on the wire, so a lie about a length cannot make us allocate.
func parts(lists ...[][]byte) int {
	n := 0
	for _, list := range lists {
		n += cap(list)
		for _, part := range list {
			n += cap(part)
		}
	}
	return n
}

// hostile are numbers where a reader's checks could be wrong.
func hostile() [][]byte {
	var all [][]byte
	for _, n := range []uint64{1, 1 << 7, broker.MaxParts, broker.MaxParts + 1, 1<<32 - 1, 1 << 32, 1 << 40, 1<<62 + 1, 1<<64 - 1} {
		all = append(all, binary.AppendUvarint(nil, n))
	}
	return append(all, bytes.Repeat([]byte{0xff}, 11), nil)
}

func FuzzRequest(f *testing.F) {
	for _, req := range []*inference.Request{
		{},
		{Params: []byte(`{"n":1}`), Items: [][]byte{[]byte(`"a"`), nil, bytes.Repeat([]byte("x"), 5000)}},
		{Body: []byte(`{"inputs":[1]}`)},
	} {
		f.Add(broker.EncodeRequest(req))
	}
	for _, n := range hostile() {
		f.Add(n)
		f.Add(append([]byte{0, 0}, n...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := broker.DecodeRequest(data)
		if got := parts(req.Items, [][]byte{req.Params, req.Body}); got > 2*len(data)+2 {
			t.Fatalf("%d bytes became %d", len(data), got)
		}
		if err != nil {
			return
		}
		again, err := broker.DecodeRequest(broker.EncodeRequest(req))
		if err != nil || !reflect.DeepEqual(req, again) {
			t.Fatalf("got %+v, %v; want %+v", again, err, req)
		}
	})
}

func FuzzResult(f *testing.F) {
	for _, res := range []*inference.Result{
		{},
		{Items: [][]byte{[]byte(`[1,2]`), []byte(`"b"`)}, Groups: []int{1, 1}, Upstream: time.Second},
		{Body: bytes.Repeat([]byte("y"), 5000), Upstream: 1 << 62},
	} {
		f.Add(broker.EncodeResult(res))
	}
	for _, n := range hostile() {
		f.Add(n)
		f.Add(append([]byte{0}, n...))
		f.Add(append([]byte{0, 0, 0}, n...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		res, err := broker.DecodeResult(data)
		if err != nil {
			return
		}
		if got := parts(res.Items, [][]byte{res.Body}) + cap(res.Groups); got > 2*len(data)+2 {
			t.Fatalf("%d bytes became %d", len(data), got)
		}
		again, err := broker.DecodeResult(broker.EncodeResult(res))
		if err != nil || !reflect.DeepEqual(res, again) {
			t.Fatalf("got %+v, %v; want %+v", again, err, res)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	request := broker.EncodeRequest(&inference.Request{Items: [][]byte{[]byte(`"a"`)}})
	for _, e := range []broker.Envelope{
		{FrontEnd: "F", Call: 1, Remaining: time.Minute, RequestID: "r", Route: "emb.v1/x", Kind: inference.Embeddings, Request: request},
		{FrontEnd: "F", Call: 1<<64 - 1, Route: "r", Ref: &broker.Ref{Holder: "F", ID: 9, Size: 30 << 20, Digest: 1<<32 - 1}},
	} {
		data := e.Encode()
		f.Add(data)
		for _, n := range hostile() {
			f.Add(append(slices.Clone(data[:3]), n...))
			f.Add(append(slices.Clone(data[:len(data)-5]), n...))
		}
	}
	f.Add([]byte{2, 1, 'F'})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := broker.DecodeEnvelope(data)
		if err != nil {
			return
		}
		got := len(e.FrontEnd) + len(e.RequestID) + len(e.Route) + len(e.Kind) + len(e.Request)
		if e.Ref != nil {
			got += len(e.Ref.Holder)
		}
		if got > len(data) {
			t.Fatalf("%d bytes became %d", len(data), got)
		}
		if e.FrontEnd == "" || e.Route == "" || e.Remaining < 0 || e.Ref != nil && e.Ref.Size < 0 {
			t.Fatalf("accepted %+v", e)
		}
		again, err := broker.DecodeEnvelope(e.Encode())
		if err != nil || !bytes.Equal(e.Request, again.Request) {
			t.Fatalf("got %+v, %v; want %+v", again, err, e)
		}
		e.Request, again.Request = nil, nil
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("got %+v, want %+v", again, e)
		}
	})
}

func FuzzFrame(f *testing.F) {
	for _, frame := range []broker.Frame{
		{Kind: 'C', Call: 3, Name: "W"},
		{Kind: 'G', Call: 3, Left: time.Minute},
		{Kind: 'X', Call: 1<<64 - 1},
		{Kind: 'K', Call: 3, Name: "F"},
		{Kind: 'P', Name: "F", Calls: []uint64{1, 1 << 40, 1<<64 - 1}},
		{Kind: 'Q', Calls: []uint64{7}},
		{Kind: 'O', Call: 3, Ref: broker.Ref{Holder: "W", ID: 4, Size: 1 << 40, Digest: 5}},
	} {
		f.Add(frame.Encode())
		for _, n := range hostile() {
			f.Add(append([]byte{frame.Kind, 1}, n...))
			f.Add(append([]byte{frame.Kind}, n...))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, ok := broker.DecodeFrame(data)
		if got := len(frame.Name) + len(frame.Ref.Holder) + cap(frame.Calls); got > 2*len(data)+8 {
			t.Fatalf("%d bytes became %d", len(data), got)
		}
		if !ok {
			return
		}
		if frame.Left < 0 || frame.Ref.Size < 0 {
			t.Fatalf("accepted %+v", frame)
		}
		if frame.Kind == 'P' || frame.Kind == 'Q' {
			frame.Call = 0 // they are about many calls
		}
		again, ok := broker.DecodeFrame(frame.Encode())
		if !ok || !reflect.DeepEqual(frame, again) {
			t.Fatalf("got %+v, %v; want %+v", again, ok, frame)
		}
	})
}

func FuzzFail(f *testing.F) {
	f.Add("queue_full", "full \xff <b>", 0, []byte(nil), int64(1500), "")
	f.Add("upstream_error", "no", 422, []byte(`{"a": "<&>\u2028", "n": 1e400}`), int64(0), "input")
	f.Add("", "", -1, []byte(`nonsense`), int64(-5), "\x00")
	f.Add("internal", "x", 1<<40, bytes.Repeat([]byte("1"), broker.MaxDetail+1), int64(1)<<62, "")
	f.Fuzz(func(t *testing.T, code, message string, status int, detail []byte, retry int64, param string) {
		code, message, param = strings.ToValidUTF8(code, "?"), strings.ToValidUTF8(message, "?"), strings.ToValidUTF8(param, "?")
		sent := &fault.Error{
			Code: fault.Code(code), Message: message, Status: status, Detail: detail, Param: param,
			RetryAfter: time.Duration(retry),
		}
		kind, call, rest, err := broker.OpenFrame(broker.EncodeFail(5, sent))
		if kind != 'F' || call != 5 || err != nil {
			t.Fatalf("the frame begins %c %d %v", kind, call, err)
		}
		got := broker.DecodeFail(rest)
		if got.Code != sent.Code || got.Message != message || got.Status != status || got.Param != param {
			t.Errorf("got %+v, want %+v", got, sent)
		}
		if want := min(max(sent.RetryAfter.Truncate(time.Millisecond), 0), 1<<40*time.Millisecond); got.RetryAfter != want {
			t.Errorf("retry after %s, want %s", got.RetryAfter, want)
		}
		switch {
		case len(detail) > broker.MaxDetail || !json.Valid(detail):
			if got.Detail != nil {
				t.Errorf("detail %q travelled", detail)
			}
		case !sameJSON(got.Detail, detail):
			t.Errorf("detail %s, want %s", got.Detail, detail)
		}
	})
}

// sameJSON compares two valid values, numbers as they are written.
func sameJSON(a, b []byte) bool {
	var x, y any
	for data, to := range map[*[]byte]*any{&a: &x, &b: &y} {
		d := json.NewDecoder(bytes.NewReader(*data))
		d.UseNumber()
		if d.Decode(to) != nil {
			return false
		}
	}
	return reflect.DeepEqual(x, y)
}

func FuzzReadFail(f *testing.F) {
	f.Add([]byte(`{"code":"internal","message":"m","status":1e3}`))
	f.Add([]byte(`{"retry_after_ms":9223372036854775807}`))
	f.Add([]byte(`{"retry_after_ms":-9223372036854775807,"detail":null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		err := broker.DecodeFail(data)
		if err == nil {
			t.Fatal("no failure at all")
		}
		if err.RetryAfter < 0 {
			t.Errorf("a wait of %s", err.RetryAfter)
		}
		if err.Error() == "" || len(err.Detail) > len(data) {
			t.Errorf("%d bytes became %+v", len(data), err)
		}
	})
}

func FuzzPresence(f *testing.F) {
	f.Add([]byte(`{"worker":"W","routes":{"a":4,"b":0}}`), []byte(`{"worker":"W","routes":{"b":1}}`))
	f.Add([]byte(`{"worker":"W","routes":null}`), []byte(`{"worker":"W","leaving":true}`))
	f.Add([]byte(`{"worker":"","routes":{"a":1}}`), []byte(`{"worker":"V","routes":{"a":-3}}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		roster, now := broker.NewRoster(), time.Now()
		for _, data := range [][]byte{first, second} {
			worker, routes, leaving, err := broker.DecodePresence(data)
			if err == nil && (worker == "" || len(worker)+len(routes) > len(data)) {
				t.Fatalf("accepted %q as worker %q with %d routes", data, worker, len(routes))
			}
			roster.Note(data, now)
			for route := range maps.Keys(routes) {
				if n := roster.Serves(route); err == nil && !leaving && n == 0 {
					t.Fatalf("%q is announced and has no worker", route)
				}
			}
		}
		workers, routes := roster.Size()
		if workers > 2 || routes > len(first)+len(second) {
			t.Fatalf("%d workers, %d routes", workers, routes)
		}
		roster.Expire(now.Add(time.Hour))
		if workers, routes := roster.Size(); workers+routes != 0 {
			t.Fatalf("%d workers and %d routes stay for ever", workers, routes)
		}
	})
}

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

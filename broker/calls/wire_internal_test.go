package calls

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"headrace/broker/link"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// hostile are numbers where a reader's checks could be wrong.
func hostile() [][]byte {
	var all [][]byte
	for _, n := range []uint64{1, 1 << 7, link.MaxParts, link.MaxParts + 1, 1<<32 - 1, 1 << 32, 1 << 40, 1<<62 + 1, 1<<64 - 1} {
		all = append(all, binary.AppendUvarint(nil, n))
	}
	return append(all, bytes.Repeat([]byte{0xff}, 11), nil)
}

// anyFrame is any frame, with the fields that its kind has.
type anyFrame struct {
	Kind  byte
	Call  uint64
	Name  string // worker of a claim, front end of a cancel or a ping
	Left  time.Duration
	Calls []uint64
	Ref   link.ParcelRef
}

// encode gives the frame's bytes; nil for kinds that are tested elsewhere.
func (f anyFrame) encode() []byte {
	switch frameKind(f.Kind) {
	case frameClaim:
		return claimFrame(f.Call, f.Name)
	case frameGo:
		return goFrame(f.Call, f.Left)
	case frameGone:
		return goneFrame(f.Call)
	case frameCancel:
		return cancelFrame(f.Call, f.Name)
	case framePing:
		return pingFrame(f.Name, f.Calls)
	case framePong:
		return pongFrame(f.Calls)
	case frameOffer:
		w := newFrame(frameOffer, f.Call)
		w.Ref(&f.Ref)
		return w.Tail
	case frameReply, frameFail:
	}
	return nil
}

// readFrame reads a frame as its receivers do; ok is false when it is broken or of an unknown kind.
func readFrame(data []byte) (f anyFrame, ok bool) {
	kind, call, r := openFrame(data)
	f = anyFrame{Kind: byte(kind), Call: call}
	switch kind {
	case frameClaim, frameCancel:
		f.Name = r.String()
	case frameGo:
		f.Left = time.Duration(min(r.Uint(), 1<<40)) * time.Millisecond
	case frameGone:
	case framePing:
		f.Name = r.String()
		f.Calls = r.Calls()
	case framePong:
		f.Calls = r.Calls()
	case frameOffer:
		f.Ref = *r.Ref()
	case frameReply, frameFail:
		return f, false
	default:
		return f, false
	}
	return f, r.Done() == nil
}

func FuzzEnvelope(f *testing.F) {
	var w link.Writer
	link.WriteRequest(&w, &inference.Request{Items: [][]byte{[]byte(`"a"`)}})
	request, _ := w.Finish()
	for _, e := range []envelope{
		{frontEnd: "F", call: 1, remaining: time.Minute, requestID: "r", route: "emb.v1/x", kind: inference.Embeddings, request: request},
		{frontEnd: "F", call: 1<<64 - 1, route: "r", parcel: &link.ParcelRef{Holder: "F", ID: 9, Size: 30 << 20, Digest: 1<<32 - 1}},
	} {
		data := e.encode()
		f.Add(data)
		for _, n := range hostile() {
			f.Add(append(slices.Clone(data[:3]), n...))
			f.Add(append(slices.Clone(data[:len(data)-5]), n...))
		}
	}
	f.Add([]byte{2, 1, 'F'})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decodeEnvelope(data)
		if err != nil {
			return
		}
		got := len(e.frontEnd) + len(e.requestID) + len(e.route) + len(e.kind) + len(e.inline)
		if e.parcel != nil {
			got += len(e.parcel.Holder)
		}
		if got > len(data) {
			t.Fatalf("%d bytes became %d", len(data), got)
		}
		if e.frontEnd == "" || e.route == "" || e.remaining < 0 || e.parcel != nil && e.parcel.Size < 0 {
			t.Fatalf("accepted %+v", e)
		}
		e.request = [][]byte{e.inline}
		again, err := decodeEnvelope(e.encode())
		if err != nil || !bytes.Equal(e.inline, again.inline) {
			t.Fatalf("got %+v, %v; want %+v", again, err, e)
		}
		e.request, e.inline, again.inline = nil, nil, nil
		if !reflect.DeepEqual(e, again) {
			t.Fatalf("got %+v, want %+v", again, e)
		}
	})
}

func FuzzFrame(f *testing.F) {
	for _, frame := range []anyFrame{
		{Kind: 'C', Call: 3, Name: "W"},
		{Kind: 'G', Call: 3, Left: time.Minute},
		{Kind: 'X', Call: 1<<64 - 1},
		{Kind: 'K', Call: 3, Name: "F"},
		{Kind: 'P', Name: "F", Calls: []uint64{1, 1 << 40, 1<<64 - 1}},
		{Kind: 'Q', Calls: []uint64{7}},
		{Kind: 'O', Call: 3, Ref: link.ParcelRef{Holder: "W", ID: 4, Size: 1 << 40, Digest: 5}},
	} {
		f.Add(frame.encode())
		for _, n := range hostile() {
			f.Add(append([]byte{frame.Kind, 1}, n...))
			f.Add(append([]byte{frame.Kind}, n...))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, ok := readFrame(data)
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
		again, ok := readFrame(frame.encode())
		if !ok || !reflect.DeepEqual(frame, again) {
			t.Fatalf("got %+v, %v; want %+v", again, ok, frame)
		}
	})
}

func FuzzFail(f *testing.F) {
	f.Add("queue_full", "full \xff <b>", 0, []byte(nil), int64(1500), "")
	f.Add("upstream_error", "no", 422, []byte(`{"a": "<&>\u2028", "n": 1e400}`), int64(0), "input")
	f.Add("", "", -1, []byte(`nonsense`), int64(-5), "\x00")
	f.Add("internal", "x", 1<<40, bytes.Repeat([]byte("1"), maxDetail+1), int64(1)<<62, "")
	f.Fuzz(func(t *testing.T, code, message string, status int, detail []byte, retry int64, param string) {
		code, message, param = strings.ToValidUTF8(code, "?"), strings.ToValidUTF8(message, "?"), strings.ToValidUTF8(param, "?")
		sent := &fault.Error{
			Code: fault.Code(code), Message: message, Status: status, Detail: detail, Param: param,
			RetryAfter: time.Duration(retry),
		}
		kind, call, r := openFrame(failFrame(5, sent))
		if kind != frameFail || call != 5 || r.Err != nil {
			t.Fatalf("the frame begins %c %d %v", kind, call, r.Err)
		}
		got := readFail(r.Rest)
		if got.Code != sent.Code || got.Message != message || got.Status != status || got.Param != param {
			t.Errorf("got %+v, want %+v", got, sent)
		}
		if want := min(max(sent.RetryAfter.Truncate(time.Millisecond), 0), 1<<40*time.Millisecond); got.RetryAfter != want {
			t.Errorf("retry after %s, want %s", got.RetryAfter, want)
		}
		switch {
		case len(detail) > maxDetail || !json.Valid(detail):
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
		err := readFail(data)
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

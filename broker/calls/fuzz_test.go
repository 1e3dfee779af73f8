package calls_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"headrace/broker/calls"
	"headrace/broker/link"
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
	for _, n := range []uint64{1, 1 << 7, link.MaxParts, link.MaxParts + 1, 1<<32 - 1, 1 << 32, 1 << 40, 1<<62 + 1, 1<<64 - 1} {
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
		f.Add(calls.EncodeRequest(req))
	}
	for _, n := range hostile() {
		f.Add(n)
		f.Add(append([]byte{0, 0}, n...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := calls.DecodeRequest(data)
		if got := parts(req.Items, [][]byte{req.Params, req.Body}); got > 2*len(data)+2 {
			t.Fatalf("%d bytes became %d", len(data), got)
		}
		if err != nil {
			return
		}
		again, err := calls.DecodeRequest(calls.EncodeRequest(req))
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
		f.Add(calls.EncodeResult(res))
	}
	for _, n := range hostile() {
		f.Add(n)
		f.Add(append([]byte{0}, n...))
		f.Add(append([]byte{0, 0, 0}, n...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		res, err := calls.DecodeResult(data)
		if err != nil {
			return
		}
		if got := parts(res.Items, [][]byte{res.Body}) + cap(res.Groups); got > 2*len(data)+2 {
			t.Fatalf("%d bytes became %d", len(data), got)
		}
		again, err := calls.DecodeResult(calls.EncodeResult(res))
		if err != nil || !reflect.DeepEqual(res, again) {
			t.Fatalf("got %+v, %v; want %+v", again, err, res)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	request := calls.EncodeRequest(&inference.Request{Items: [][]byte{[]byte(`"a"`)}})
	for _, e := range []calls.Envelope{
		{FrontEnd: "F", Call: 1, Remaining: time.Minute, RequestID: "r", Route: "emb.v1/x", Kind: inference.Embeddings, Request: request},
		{FrontEnd: "F", Call: 1<<64 - 1, Route: "r", Ref: &calls.Ref{Holder: "F", ID: 9, Size: 30 << 20, Digest: 1<<32 - 1}},
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
		e, err := calls.DecodeEnvelope(data)
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
		again, err := calls.DecodeEnvelope(e.Encode())
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
	for _, frame := range []calls.Frame{
		{Kind: 'C', Call: 3, Name: "W"},
		{Kind: 'G', Call: 3, Left: time.Minute},
		{Kind: 'X', Call: 1<<64 - 1},
		{Kind: 'K', Call: 3, Name: "F"},
		{Kind: 'P', Name: "F", Calls: []uint64{1, 1 << 40, 1<<64 - 1}},
		{Kind: 'Q', Calls: []uint64{7}},
		{Kind: 'O', Call: 3, Ref: calls.Ref{Holder: "W", ID: 4, Size: 1 << 40, Digest: 5}},
	} {
		f.Add(frame.Encode())
		for _, n := range hostile() {
			f.Add(append([]byte{frame.Kind, 1}, n...))
			f.Add(append([]byte{frame.Kind}, n...))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, ok := calls.DecodeFrame(data)
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
		again, ok := calls.DecodeFrame(frame.Encode())
		if !ok || !reflect.DeepEqual(frame, again) {
			t.Fatalf("got %+v, %v; want %+v", again, ok, frame)
		}
	})
}

func FuzzFail(f *testing.F) {
	f.Add("queue_full", "full \xff <b>", 0, []byte(nil), int64(1500), "")
	f.Add("upstream_error", "no", 422, []byte(`{"a": "<&>\u2028", "n": 1e400}`), int64(0), "input")
	f.Add("", "", -1, []byte(`nonsense`), int64(-5), "\x00")
	f.Add("internal", "x", 1<<40, bytes.Repeat([]byte("1"), calls.MaxDetail+1), int64(1)<<62, "")
	f.Fuzz(func(t *testing.T, code, message string, status int, detail []byte, retry int64, param string) {
		code, message, param = strings.ToValidUTF8(code, "?"), strings.ToValidUTF8(message, "?"), strings.ToValidUTF8(param, "?")
		sent := &fault.Error{
			Code: fault.Code(code), Message: message, Status: status, Detail: detail, Param: param,
			RetryAfter: time.Duration(retry),
		}
		kind, call, rest, err := calls.OpenFrame(calls.EncodeFail(5, sent))
		if kind != 'F' || call != 5 || err != nil {
			t.Fatalf("the frame begins %c %d %v", kind, call, err)
		}
		got := calls.DecodeFail(rest)
		if got.Code != sent.Code || got.Message != message || got.Status != status || got.Param != param {
			t.Errorf("got %+v, want %+v", got, sent)
		}
		if want := min(max(sent.RetryAfter.Truncate(time.Millisecond), 0), 1<<40*time.Millisecond); got.RetryAfter != want {
			t.Errorf("retry after %s, want %s", got.RetryAfter, want)
		}
		switch {
		case len(detail) > calls.MaxDetail || !json.Valid(detail):
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
		err := calls.DecodeFail(data)
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
		roster, now := calls.NewRoster(), time.Now()
		for _, data := range [][]byte{first, second} {
			worker, routes, leaving, err := calls.DecodePresence(data)
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

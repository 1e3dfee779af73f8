package link_test

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"headrace/broker/link"
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

// encodeRequest gives the bytes of what differs from call to call.
func encodeRequest(req *inference.Request) []byte {
	var w link.Writer
	link.WriteRequest(&w, req)
	segments, _ := w.Finish()
	return link.Joined(nil, segments)
}

// decodeRequest is its inverse.
func decodeRequest(data []byte) (*inference.Request, error) {
	req := new(inference.Request)
	return req, link.ReadRequest(data, req)
}

// encodeResult gives a result's bytes.
func encodeResult(res *inference.Result) []byte {
	var w link.Writer
	link.WriteResult(&w, res)
	segments, _ := w.Finish()
	return link.Joined(nil, segments)
}

func FuzzRequest(f *testing.F) {
	for _, req := range []*inference.Request{
		{},
		{Params: []byte(`{"n":1}`), Items: [][]byte{[]byte(`"a"`), nil, bytes.Repeat([]byte("x"), 5000)}},
		{Body: []byte(`{"inputs":[1]}`)},
	} {
		f.Add(encodeRequest(req))
	}
	for _, n := range hostile() {
		f.Add(n)
		f.Add(append([]byte{0, 0}, n...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := decodeRequest(data)
		if got := parts(req.Items, [][]byte{req.Params, req.Body}); got > 2*len(data)+2 {
			t.Fatalf("%d bytes became %d", len(data), got)
		}
		if err != nil {
			return
		}
		again, err := decodeRequest(encodeRequest(req))
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
		f.Add(encodeResult(res))
	}
	for _, n := range hostile() {
		f.Add(n)
		f.Add(append([]byte{0}, n...))
		f.Add(append([]byte{0, 0, 0}, n...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		res, err := link.ReadResult(data)
		if err != nil {
			return
		}
		if got := parts(res.Items, [][]byte{res.Body}) + cap(res.Groups); got > 2*len(data)+2 {
			t.Fatalf("%d bytes became %d", len(data), got)
		}
		again, err := link.ReadResult(encodeResult(res))
		if err != nil || !reflect.DeepEqual(res, again) {
			t.Fatalf("got %+v, %v; want %+v", again, err, res)
		}
	})
}

package flow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headrace/internal/budget"
	"headrace/internal/inference"
)

// hostile are numbers where a reader's checks could be wrong.
func hostile() [][]byte {
	var all [][]byte
	for _, n := range []uint64{1, 1 << 7, maxIndex, maxIndex + 1, 1<<32 - 1, 1 << 32, 1<<62 + 1, 1<<64 - 1} {
		all = append(all, binary.AppendUvarint(nil, n))
	}
	return append(all, bytes.Repeat([]byte{0xff}, 11), nil)
}

// TestPiecesSurviveTheWire: nil and empty values are told apart.
func TestPiecesSurviveTheWire(t *testing.T) {
	t.Parallel()
	for _, e := range []inference.Event{
		{Text: []byte(`"a"`)},
		{Kind: inference.EventCall, Choice: 3, Call: &inference.ToolCall{Index: 2, Name: []byte(`"f"`), Arguments: []byte{}}},
		{Kind: inference.EventCall, Call: &inference.ToolCall{ID: []byte("i")}},
		{Kind: inference.EventFinish, Finish: []byte(`"stop"`), Raw: []byte(",x")},
		{Kind: inference.EventUsage, Usage: []byte(`{}`)},
		{Kind: inference.EventRaw, Raw: bytes.Repeat([]byte("x"), 10_000)},
	} {
		data := appendPiece(nil, &e)
		size, n := binary.Uvarint(data)
		got, err := readPiece(data[n:])
		if err != nil || int(size) != len(data)-n || !reflect.DeepEqual(*got, e) {
			t.Errorf("%+v is read as %+v, %v", e, got, err)
		}
	}
}

// FuzzPieces: what can be read is written as it came, in other words only.
func FuzzPieces(f *testing.F) {
	e := inference.Event{Kind: inference.EventCall, Call: &inference.ToolCall{Name: []byte("f")}, Text: []byte("t")}
	data := appendPiece(nil, &e)
	f.Add(data[1:])
	for _, bad := range hostile() {
		f.Add(append([]byte{0}, bad...))
		f.Add(append([]byte{0, 0, 0x7f}, bad...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := readPiece(data)
		if err != nil {
			return
		}
		again := appendPiece(nil, e)
		_, n := binary.Uvarint(again)
		if got, err := readPiece(again[n:]); err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("%+v is read as %+v, %v", e, got, err)
		}
	})
}

// TestAGapInAStreamIsAnError, and so is more than was granted: never a shorter answer.
func TestAGapInAStreamIsAnError(t *testing.T) {
	t.Parallel()
	gone := errors.New("the worker is gone")
	piece := appendPiece(nil, &inference.Event{Text: []byte(`"a"`)})
	for name, c := range map[string]struct {
		do   func(f *In)
		want error
		n    int
	}{
		"complete":          {func(f *In) { f.Put(0, piece); f.Put(1, piece); f.End(2); f.Fail(lost()) }, io.EOF, 2},
		"a chunk is lost":   {func(f *In) { f.Put(0, piece); f.Put(2, piece); f.End(3) }, lost(), 1},
		"the first is lost": {func(f *In) { f.Put(1, piece); f.End(2) }, lost(), 0},
		"the last is lost":  {func(f *In) { f.Put(0, piece); f.End(2) }, lost(), 1},
		"a chunk twice":     {func(f *In) { f.Put(0, piece); f.Put(0, piece); f.End(1) }, lost(), 1},
		"half a piece":      {func(f *In) { f.Put(0, piece); f.Put(1, piece[:2]); f.End(2) }, lost(), 1},
		"too much":          {func(f *In) { f.Put(0, make([]byte, Window+1)); f.End(1) }, lost(), 0},
		"a broken piece":    {func(f *In) { f.Put(0, piece); f.Put(1, []byte{1, 9}); f.End(2) }, errors.New("internal error"), 1},
		"a huge piece":      {func(f *In) { f.Put(0, binary.AppendUvarint(nil, 1<<60)); f.End(1) }, lost(), 0},
		"a lost worker":     {func(f *In) { f.Put(0, piece); f.Fail(gone); f.End(1) }, gone, 1},
	} {
		f := NewIn(func(uint64) {})
		c.do(f)
		b := budget.New(1 << 20)
		_ = b.TryReserve(Window)
		s := &Reader{flow: f, budget: b, close: func() {}}
		n := 0
		var err error
		for ; err == nil; n++ {
			_, err = s.Next(t.Context())
		}
		if !strings.Contains(err.Error(), c.want.Error()) || n-1 != c.n {
			t.Errorf("%s: %d pieces, %v", name, n-1, err)
		}
		if s.Close(); b.Held() != 0 {
			t.Errorf("%s: %d bytes are held", name, b.Held())
		}
	}
}

// TestCreditThatWasLostIsAskedFor: the receiver answers an empty chunk with all that it has granted.
func TestCreditThatWasLostIsAskedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var in *In
		asked := false
		out := NewOut(func(number uint64, data []byte) error {
			asked = asked || len(data) == 0
			in.Put(number, data)
			return nil
		})
		in = NewIn(func(total uint64) {
			if asked { // what was granted before is lost
				out.Allow(total)
			}
		})
		full := []inference.Event{{Raw: make([]byte, Window-20)}}
		if err := out.Send(t.Context(), full); err != nil {
			t.Fatal(err)
		}
		s := NewReader(in, budget.New(1<<20))
		if _, err := s.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := out.Send(t.Context(), []inference.Event{{Raw: make([]byte, longestChunk-100)}}); err != nil || time.Since(began) != askAfter {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		in.End(out.Chunks())
		if e, err := s.Next(t.Context()); err != nil || len(e.Raw) != longestChunk-100 {
			t.Errorf("the second piece: %v", err)
		}
		if _, err := s.Next(t.Context()); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
	})
}

package sse_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	referee "github.com/tmaxmax/go-sse"

	"headrace/internal/sse"
)

// all reads a stream to its end.
func all(in io.Reader, most int) ([]sse.Event, error) {
	var events []sse.Event
	for r := sse.NewReader(in, most); ; {
		e, err := r.Next()
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}

func TestEventsAreRead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stream string
		want   []sse.Event
	}{
		"data":                {"data: a\n\n", []sse.Event{{Data: "a"}}},
		"no blank":            {"data:a\ndata:  b\n\n", []sse.Event{{Data: "a\n b"}}},
		"names and comments":  {": x\n\nevent: e\nid: 1\ndata: a\n\n: y\n\ndata: b\n\n", []sse.Event{{Name: "e", Data: "a", ID: "1"}, {Data: "b", ID: "1"}}},
		"every end of line":   {"data: a\r\n\r\ndata: b\r\rdata: c\n\n", []sse.Event{{Data: "a"}, {Data: "b"}, {Data: "c"}}},
		"a mark":              {"\ufeffdata: a\n\n", []sse.Event{{Data: "a"}}},
		"an event of nothing": {"data\n\nevent: e\n\ndata: b\n\n", []sse.Event{{}, {Data: "b"}}},
		"cut":                 {"data: a\n\ndata: b\n", []sse.Event{{Data: "a"}}},
	} {
		for how, in := range map[string]io.Reader{"whole": strings.NewReader(c.stream), "in bytes": iotest.OneByteReader(strings.NewReader(c.stream))} {
			got, err := all(in, 100)
			if !slices.Equal(got, c.want) || !errors.Is(err, io.EOF) {
				t.Errorf("%s, %s: %q %v, want %q", name, how, got, err, c.want)
			}
		}
	}
}

func TestLongEventsAreRefused(t *testing.T) {
	t.Parallel()
	for name, stream := range map[string]string{
		"one line": "data: " + strings.Repeat("x", 1000), "many lines": strings.Repeat("data: xxxxxxxxx\n", 100) + "\n",
	} {
		_, err := all(strings.NewReader(stream), 50)
		if _, ok := errors.AsType[*sse.TooLongError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := all(strings.NewReader("data: "+strings.Repeat("x", 50)+"\n\n"), 100); len(got) != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("%v %v", got, err)
	}
}

func TestWrittenEventsAreRead(t *testing.T) {
	t.Parallel()
	var stream []byte
	stream = sse.Append(stream, "", []byte(`{"a":1}`))
	stream = sse.AppendComment(stream, "waiting")
	stream = sse.Append(stream, "error", []byte("a\nb"))
	got, _ := all(strings.NewReader(string(stream)), 100)
	if want := []sse.Event{{Data: `{"a":1}`}, {Name: "error", Data: "a\nb"}}; !slices.Equal(got, want) {
		t.Errorf("%q from %q", got, stream)
	}
}

// TestLineBreaksInDataStayInTheEvent: a carriage return alone ends a line as well, and what follows it must not be read as a field.
func TestLineBreaksInDataStayInTheEvent(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"": "", "a": "a", "a\nb": "a\nb", "a\rb": "a\nb", "a\r\nb": "a\nb", "a\r\rb": "a\n\nb", "a\n\rb": "a\n\nb", "\r": "\n", "a\n": "a\n",
		"x\rid: 7\r\rdata: forged": "x\nid: 7\n\ndata: forged",
	} {
		stream := sse.Append(nil, "e", []byte(data))
		got, _ := all(strings.NewReader(string(stream)+"data: next\n\n"), 100)
		if want := []sse.Event{{Name: "e", Data: want}, {Data: "next"}}; !slices.Equal(got, want) {
			t.Errorf("%q is written as %q and read as %q", data, stream, got)
		}
	}
}

// counted counts how often it is read.
type counted struct {
	io.Reader

	reads int
}

func (c *counted) Read(p []byte) (int, error) {
	c.reads++
	return c.Reader.Read(p) //nolint:wrapcheck // it stands for the reader that it wraps
}

// TestALargeEventIsReadInTimeThatGrowsWithIt: the buffer doubles, so that each byte is looked at and copied a few times only.
func TestALargeEventIsReadInTimeThatGrowsWithIt(t *testing.T) {
	t.Parallel()
	const size, repeats = 1 << 20, 8
	in := &counted{Reader: strings.NewReader(strings.Repeat("data: "+strings.Repeat("x", size)+"\n\n", repeats))}
	got, _ := all(in, 2*size)
	if len(got) != repeats || len(got[0].Data) != size {
		t.Errorf("%d events", len(got))
	}
	if in.reads > 20*repeats {
		t.Errorf("%d events of 1 MiB took %d reads", repeats, in.reads)
	}
}

// FuzzReader: events are those that go-sse reads, whatever pieces the stream comes in.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"data: a\n\n", ": x\n\nevent: e\nid: 1\ndata: a\ndata: b\n\n", "data: a\r\n\r\ndata:b\r\r", "retry: 10\n\ndata\n\n", "id: a\x00b\ndata: c\n\n", "data: [DONE]\n\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		ours, err := all(strings.NewReader(stream), 1<<20)
		if !errors.Is(err, io.EOF) {
			t.Fatalf("%q: %v", stream, err)
		}
		pieces, _ := all(iotest.OneByteReader(strings.NewReader(stream)), 1<<20)
		if !slices.Equal(ours, pieces) {
			t.Fatalf("%q is %q, and in pieces %q", stream, ours, pieces)
		}
		if strings.ContainsAny(stream, "\r\ufeff\x00") || strings.ToValidUTF8(stream, "") != stream {
			return // go-sse reads these in another way than the standard
		}
		var theirs []sse.Event
		for e, err := range referee.Read(strings.NewReader(stream), &referee.ReadConfig{MaxEventSize: 1 << 21}) {
			if err != nil {
				break
			}
			theirs = append(theirs, sse.Event{Name: e.Type, Data: e.Data, ID: e.LastEventID})
		}
		// go-sse gives events that the end of the stream cuts, and those without data.
		theirs = slices.DeleteFunc(theirs, func(e sse.Event) bool { return e.Data == "" })
		ours = slices.DeleteFunc(ours, func(e sse.Event) bool { return e.Data == "" })
		if len(theirs) == len(ours)+1 && !strings.HasSuffix(stream, "\n\n") {
			theirs = theirs[:len(ours)]
		}
		for i := range min(len(ours), len(theirs)) {
			if ours[i].Data != theirs[i].Data {
				t.Fatalf("%q is %q, go-sse reads %q", stream, ours, theirs)
			}
		}
		if len(ours) != len(theirs) {
			t.Fatalf("%q is %q, go-sse reads %q", stream, ours, theirs)
		}
	})
}

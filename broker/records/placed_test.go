package records_test

import (
	"bytes"
	"fmt"
	"testing"

	"headrace/broker/records"
	"headrace/internal/job"
)

func TestPlacements(t *testing.T) {
	t.Parallel()
	var p records.Placements
	take := func() string { return string(bytes.Join(records.PlacedTexts(p.Take()), []byte("|"))) }
	p.Add("a", 1)
	if got := take(); got != "" {
		t.Errorf("%q is told before the sweeper can have read the record", got)
	}
	p.Add("b", 2)
	for _, want := range []string{"a 1\n", "b 2\n", ""} {
		if got := take(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	p.Add("c", 3)
	_ = take()
	p.Add("d", 4)
	p.Forget()
	if got := take() + take(); got != "" {
		t.Errorf("%q is told after the broker was away", got)
	}
	for n := range records.MaxPlaced + 10 {
		p.Add(job.ID(fmt.Sprintf("job-%d", n)), uint64(n))
	}
	_ = take()
	lines := 0
	for _, text := range records.PlacedTexts(p.Take()) {
		if len(text) > 300<<10 {
			t.Errorf("a message of %d bytes", len(text))
		}
		lines += bytes.Count(text, []byte("\n"))
	}
	if lines != records.MaxPlaced {
		t.Errorf("%d are remembered, the limit is %d", lines, records.MaxPlaced)
	}
}

func FuzzPlaced(f *testing.F) {
	f.Add([]byte("a 1\nb 18446744073709551615\n"))
	f.Add([]byte("a  1\n"))
	f.Add([]byte("a 01\n \n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		again, err := records.ReadPlaced(text)
		if err != nil {
			return
		}
		said := bytes.Join(records.PlacedTexts(again), nil)
		third, err := records.ReadPlaced(said)
		if err != nil || !bytes.Equal(bytes.Join(records.PlacedTexts(third), nil), said) {
			t.Errorf("%q is read as %q, that as %v: %v", text, said, third, err)
		}
	})
}

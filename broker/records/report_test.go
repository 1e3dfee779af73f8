package records_test

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"headrace/broker/records"
	"headrace/internal/job"
)

// maxReportMessage is less than a NATS server with default settings takes.
const maxReportMessage = 128 << 10

// longReport has more than fits one message, in each of its lists.
func longReport(from string, number uint64) *records.Report {
	r := &records.Report{From: from, Number: number, Full: "no space", Counting: true}
	for i := range 1_500 {
		route := fmt.Sprintf("route-%d-%s", i, strings.Repeat("<\x01é", i%40))
		r.Lanes = append(r.Lanes, records.LaneReport{
			Route: route, Priority: job.Interactive, Waiting: math.MaxInt, Queued: math.MaxInt, Running: math.MaxInt, Measured: true,
			Oldest: math.MaxInt64, Delivered: math.MaxUint64, Rate: 1.0 / 3,
		})
		r.Paused = append(r.Paused, route)
		r.Wake = append(r.Wake, records.Lane{Route: route, Priority: job.Batch})
	}
	return r
}

func messagesOf(t *testing.T, r *records.Report) [][]byte {
	t.Helper()
	messages, err := r.Messages()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range messages {
		if len(text) > maxReportMessage {
			t.Errorf("a message of %d bytes", len(text))
		}
	}
	return messages
}

// same reports whether two reports say the same, however they came.
func same(a, b *records.Report) bool {
	if a == nil || b == nil {
		return false
	}
	x, y := *a, *b
	x.Part, x.Parts, y.Part, y.Parts = 0, 0, 0, 0
	return reflect.DeepEqual(x, y)
}

func TestLongReportIsToldInParts(t *testing.T) {
	t.Parallel()
	one, other := longReport("one", 7), longReport("other", 3)
	ones, others := messagesOf(t, one), messagesOf(t, other)
	if len(ones) < 10 {
		t.Fatalf("it has %d parts", len(ones))
	}
	var reader records.Reports
	var whole []*records.Report
	for i := range ones { // two sweepers at a time
		for _, text := range [][]byte{ones[i], others[i]} {
			r, err := reader.Take(text)
			if err != nil {
				t.Fatal(err)
			}
			if r != nil {
				whole = append(whole, r)
			}
		}
	}
	if len(whole) != 2 || !same(whole[0], one) || !same(whole[1], other) {
		t.Fatalf("%d reports came, or they say something else", len(whole))
	}
}

// A report of which a message was lost is not given; the next one is.
func TestReportWithoutAPartIsNotGiven(t *testing.T) {
	t.Parallel()
	first := messagesOf(t, longReport("one", 1))
	for _, lost := range []int{0, 1, len(first) - 1} {
		var reader records.Reports
		for i, text := range first {
			if i == lost {
				continue
			}
			if r, err := reader.Take(text); err != nil || r != nil {
				t.Fatalf("without part %d, after part %d: %v, %v", lost, i, r != nil, err)
			}
		}
		next := longReport("one", 2)
		var whole *records.Report
		for _, text := range messagesOf(t, next) {
			var err error
			if whole, err = reader.Take(text); err != nil {
				t.Fatal(err)
			}
		}
		if !same(whole, next) {
			t.Errorf("after the loss of part %d the next report is not given", lost)
		}
	}
}

func TestShortReportIsOneMessage(t *testing.T) {
	t.Parallel()
	for _, report := range []*records.Report{{}, {From: "one", Number: 1, Lanes: []records.LaneReport{{Route: "r", Priority: job.Standard, Waiting: 1}}}} {
		messages := messagesOf(t, report)
		if len(messages) != 1 {
			t.Fatalf("%d messages", len(messages))
		}
		var reader records.Reports
		if got, err := reader.Take(messages[0]); err != nil || !same(got, report) {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// Whatever comes is refused or joined; what is joined can be told again.
func FuzzReports(f *testing.F) {
	f.Add([]byte(`{"lanes":[]}`), []byte(`{}`))
	f.Add([]byte(`{"from":"a","number":1,"parts":2,"lanes":[{"route":"r","priority":"batch"}]}`), []byte(`{"from":"a","number":1,"part":1,"parts":2,"paused":["r"]}`))
	f.Add([]byte(`{"part":-1}`), []byte(`{"part":3,"parts":2}`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var reader records.Reports
		for _, text := range [][]byte{first, second} {
			r, err := reader.Take(text)
			if err != nil || r == nil {
				continue
			}
			messages, err := r.Messages()
			if err != nil {
				t.Fatal(err)
			}
			for i, again := range messages {
				if !json.Valid(again) {
					t.Fatalf("message %d is %q", i, again)
				}
			}
		}
	})
}

package records_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"headrace/broker/records"
	"headrace/internal/natstest"
)

// While one sync is under way, later callers share the next one. What is known to be on disk costs nothing.
func TestSyncsAreShared(t *testing.T) {
	t.Parallel()
	nc, err := nats.Connect(natstest.Start(t, natstest.Options{}).URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	asked, answers := make(chan *nats.Msg, 100), []string{"", "", "no space", ""}
	if _, err := nc.ChanSubscribe("hr.sync.S", asked); err != nil {
		t.Fatal(err)
	}
	respond := func() {
		t.Helper()
		if err := await(t, asked).Respond([]byte(answers[0])); err != nil {
			t.Error(err)
		}
		answers = answers[1:]
	}
	syncs, results := records.NewSyncs(), make(chan error, 100)
	want := func(numbers ...uint64) {
		for _, n := range numbers {
			go func() { results <- syncs.UpTo(t.Context(), nc, "S", n) }()
		}
		for syncs.Gathered("S") < slices.Max(numbers) {
			runtime.Gosched()
		}
	}
	want(1)
	first := await(t, asked)
	var numbers []uint64
	for n := range uint64(20) {
		numbers = append(numbers, n+2)
	}
	want(numbers...)
	if err := first.Respond([]byte(answers[0])); err != nil {
		t.Fatal(err)
	}
	answers = answers[1:]
	respond()
	for range 21 {
		if err := await(t, results); err != nil {
			t.Error(err)
		}
	}
	if err := syncs.UpTo(t.Context(), nc, "S", 21); err != nil || len(asked) > 0 {
		t.Errorf("%v; asked %d times more", err, len(asked))
	}
	// A broker that was away may have lost its power, and then assigns numbers a second time.
	syncs.Forget()
	want(21)
	if err := await(t, asked).Respond(nil); err != nil {
		t.Error(err)
	}
	if err := await(t, results); err != nil {
		t.Error(err)
	}
	want(22)
	respond() // with a reason why not
	if err := await(t, results); err == nil || !strings.Contains(err.Error(), "no space") {
		t.Errorf("got %v", err)
	}
	want(22)
	respond()
	if err := await(t, results); err != nil {
		t.Error(err)
	}
}

// await takes the next value.
func await[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came for 20 s")
		panic("unreachable") //nolint:forbidigo // Fatal has ended the test
	}
}

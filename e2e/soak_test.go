package e2e_test

import (
	"cmp"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSoak treats one gateway badly in every way at once, for SOAK (a duration; a few seconds when it is not set),
// while its configuration changes ten times a second. Afterwards everything must have come back. `make soak` runs it
// for ten minutes.
func TestSoak(t *testing.T) {
	t.Parallel()
	length, err := time.ParseDuration(cmp.Or(os.Getenv("SOAK"), "4s"))
	if err != nil {
		t.Fatalf("SOAK: %v", err)
	}
	p := newPressed(t)
	path := p.process.cmd.Args[len(p.process.cmd.Args)-1]
	text := read(t, path)
	resting, before := p.resting(), p.metric("process_resident_memory_bytes")
	over := time.Now().Add(length)
	var ways sync.WaitGroup
	answered, rounds, held := int64(0), 0, 0
	ways.Go(func() {
		for time.Now().Before(over) && !t.Failed() {
			answered += p.crowd(200, time.Second)
		}
	})
	ways.Go(func() {
		for time.Now().Before(over) && !t.Failed() {
			p.bodies()
			p.mutations(500)
			rounds++
		}
	})
	ways.Go(func() {
		const unfinished = 60
		for time.Now().Before(over) && !t.Failed() {
			p.unfinished(unfinished)()
			held += unfinished
		}
	})
	ways.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := 0; time.Now().Before(over); i++ {
			<-tick.C
			extra := ""
			if i/15%2 == 0 { // it stays for long enough to be taken now and then
				extra = route("endpoint", "beside", "llm/v1/embeddings", p.model.URL)
			}
			rewrite(t, path, text+extra)
		}
	})
	highest := 0.0
	watch := time.NewTicker(time.Second)
	defer watch.Stop()
	for time.Now().Before(over) {
		<-watch.C
		highest = max(highest, p.metric("process_resident_memory_bytes"))
	}
	ways.Wait()
	p.rested(resting)
	after := p.metric("process_resident_memory_bytes")
	t.Logf("%s: %d good answers, %d rounds of bodies and mutations, %d requests that never ended; memory %.0f MB before, %.0f at most, %.0f after; "+
		"goroutines %.0f before, %.0f after; configuration changed %d times", length, answered, rounds, held, before/1e6, highest/1e6, after/1e6,
		resting, p.metric("go_goroutines"), strings.Count(p.process.out.String(), "the configuration has changed"))
	if limit := 1.5e9; highest > limit {
		t.Errorf("%.0f MB of memory", highest/1e6)
	}
}

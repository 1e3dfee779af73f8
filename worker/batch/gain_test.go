package batch_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"headrace/worker/batch"
)

// The simulated servers, fitted to real ones: a sentence transformer on two cores, a decision tree, a fill-mask
// pipeline that loops over its prompts, a chat model that waits a second for another service.
func transformer() server {
	return server{took: linear(12.5, 1, 0.03), pool: 1, noise: 0.1, thrash: 0.2}
}

func longTexts() server {
	return server{took: linear(15, 0.9, 0.0545), pool: 1, noise: 0.1}
}

func tree() server { return server{took: linear(5, 0.02, 0), pool: 1, noise: 0.1} }

func fillMask() server { return server{took: linear(4.8, 8.9, 0), pool: 1, noise: 0.1} }

func waits() server {
	return server{took: linear(1000, 0, 0), pool: 6, noise: 0.02}
}

// TestGainOfMerging compares requests a second through the dispatcher and direct, over the same simulated server.
func TestGainOfMerging(t *testing.T) {
	t.Parallel()
	row := texts(40)
	tests := map[string]struct {
		server  server
		clients int
		item    func(*rand.Rand) batch.Item
		poison  float64
		slots   int
		least   float64 // through / direct
		p99     float64 // at most so many times direct
		until   time.Duration
	}{
		"transformer, 1":               {transformer(), 1, between(24, 60), 0, 1, 0.97, 1.1, time.Minute},
		"transformer, 8":               {transformer(), 8, between(24, 60), 0, 1, 2.5, 1, time.Minute},
		"transformer, 32":              {transformer(), 32, between(24, 60), 0, 1, 4.5, 0.36, time.Minute},
		"mixed lengths, 32":            {longTexts(), 32, texts(60, 300, 1200), 0, 1, 1.25, 1.5, time.Minute},
		"tree, 1":                      {tree(), 1, row, 0, 1, 0.9, 1.1, 6 * time.Second},
		"tree, 32":                     {tree(), 32, row, 0, 1, 15, 1, 6 * time.Second},
		"tree, 128":                    {tree(), 128, row, 0, 1, 30, 1, 6 * time.Second},
		"fill-mask, 32":                {fillMask(), 32, row, 0, 1, 1.3, 1, time.Minute},
		"fill-mask, 32, 1 % bad":       {fillMask(), 32, row, 0.01, 1, 1.1, 2, time.Minute},
		"a server that waits, 16":      {waits(), 16, solo, 0, 64, 0.9, 1.2, time.Minute},
		"a server that computes, 16":   {transformer(), 16, between(24, 60), 0, 64, 3, 1, time.Minute},
		"chat on one that computes, 8": {transformer(), 8, solo, 0, 64, 0.97, 1.2, time.Minute},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(2) {
				until, from := tt.until, tt.until/2
				without := direct(t, seed, tt.server, closed(tt.clients, tt.item), until)
				w := newWorld(t, seed, tt.server, defaults())
				w.slots, w.poisoned = batch.NewSlots(1, tt.slots), tt.poison
				w.start(closed(tt.clients, tt.item)...)
				w.run(until)
				gain := w.rate("answered", from) / without.rate("answered", from)
				p99, p99Direct := w.latency("", 0.99, from), without.latency("", 0.99, from)
				t.Logf("%s: %.2f x, p99 %s of %s, %d slots, cost %+v", name, gain, p99, p99Direct, w.slots.Learned(), w.learner.Cost())
				if gain < tt.least {
					t.Errorf("seed %d: %.2f times direct, want %.2f", seed, gain, tt.least)
				}
				if p99.Seconds() > tt.p99*p99Direct.Seconds() {
					t.Errorf("seed %d: p99 %s, direct %s", seed, p99, p99Direct)
				}
			}
		})
	}
}

func solo(*rand.Rand) batch.Item {
	return batch.Item{Key: batch.Key{Route: "r"}, Solo: true, Length: 40}
}

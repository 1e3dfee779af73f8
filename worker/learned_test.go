package worker_test

import (
	"context"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow"
	"headrace/worker"
	"headrace/worker/learned"
)

// notebook is a memory in memory.
type notebook struct {
	mu    sync.Mutex
	known map[string]learned.Stored
	saved int
}

// Load is part of worker.Memory.
func (n *notebook) Load() map[string]learned.Stored {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.known)
}

// Save is part of worker.Memory.
func (n *notebook) Save(known map[string]learned.Stored) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known = known
	n.saved++
	return nil
}

// What was learned of a model server outlives the process: the next one begins with its costs, sizes and slots. Whether rows
// are independent is proven again, because another model may be served by then.
func TestLearnedSurvivesARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		book := new(notebook)
		first := openWith(t, &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}, limits(inference.BatchOn), 1, worker.Deps{Memory: book})
		first.warm()
		size := first.worker.State()[0].Batching[0].Size
		first.stop()
		second := openWith(t, &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}, limits(inference.BatchOn), 1, worker.Deps{Memory: book})
		second.check(second.ask(t.Context(), "warm"), "warm")
		known := second.worker.State()[0].Batching[0]
		if size < 8 || known.Size != size || known.CallMS < 11 || known.CallMS > 13 {
			t.Errorf("learned a size of %d; the next process begins with %+v", size, known)
		}
		second.stop()
		auto := openWith(t, &texts{fixed: 12 * time.Millisecond, row: time.Millisecond}, limits(inference.BatchAuto), 1, worker.Deps{Memory: book})
		if s := auto.worker.State()[0].Batching[0]; s.Stage != "unproven" || s.Size != 1 {
			t.Errorf("a proof was taken over: %+v", s)
		}
		auto.stop()
		if book.saved < 3 {
			t.Errorf("saved %d times", book.saved)
		}
	})
}

// A model server that waits for something else gets more slots, and front ends hear of it.
func TestLearnedSlotsAreAnnounced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := route("a", 1, "http://one")
		r.Type, r.LearnSlots, r.Timeout, r.MaxReply = inference.Completions, true, 5*time.Second, 1<<20
		queue, model := newCalls(), &texts{fixed: 100 * time.Millisecond}
		w, err := worker.New(worker.Config{Grace: time.Minute}, worker.Deps{
			Queue: queue, Providers: map[string]provider.Provider{"fake": mlflow.New()}, Random: func() float64 { return 0.5 },
			Dial: func(*inference.Route) (worker.Upstream, error) { return model, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx, inference.NewTable(r)) }()
		until, over := context.WithTimeout(t.Context(), time.Minute)
		defer over()
		var clients sync.WaitGroup
		for range 32 {
			clients.Go(func() {
				for until.Err() == nil {
					c := &call{from: queue, route: "a", ctx: t.Context(), result: make(chan string, 1), request: prompt("x")}
					queue.put(c)
					<-c.result
				}
			})
		}
		clients.Wait()
		queue.mu.Lock()
		announced := queue.served["a"]
		queue.mu.Unlock()
		if announced < 16 {
			t.Errorf("%d slots are announced of 32 that pay", announced)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

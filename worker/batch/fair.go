package batch

import (
	"maps"
	"math"
	"slices"
)

// maxCallers bounds what Fair remembers.
const maxCallers = 4096

// Fair shares a model server between callers by virtual service: each is charged the time its rows take, and the one
// that was charged least goes first. A caller that was away is lifted to the least charged of those that wait, so
// absence saves nothing up. Differences of less than one full call do not count, so that callers who ask for about
// as much are served in the order of arrival. The zero Fair is ready.
type Fair struct {
	served  map[string]float64 // seconds, of callers above floor
	floor   float64
	quantum float64 // seconds that a large call takes
}

// served of a caller that is not remembered is the floor.
func (f *Fair) of(caller string) float64 { return max(f.served[caller], f.floor) }

// level is how many large calls' worth a caller had more than the least.
func (f *Fair) level(caller string) float64 { return f.levelAt(f.of(caller)) }

func (f *Fair) levelAt(served float64) float64 {
	if f.quantum <= 0 {
		return served
	}
	return math.Floor((served - f.floor) / f.quantum)
}

// Waiting is told who waits before each batch is formed. When none does, everything is forgotten.
func (f *Fair) Waiting(items []Item) {
	if len(items) == 0 {
		clear(f.served)
		f.floor = 0
		return
	}
	least := f.of(items[0].Caller)
	for i := range items {
		least = min(least, f.of(items[i].Caller))
	}
	f.floor = max(f.floor, least)
	if len(f.served) > maxCallers { // half of them are forgiven
		all := slices.Sorted(maps.Values(f.served))
		f.floor = max(f.floor, all[len(all)/2])
	}
	maps.DeleteFunc(f.served, func(_ string, s float64) bool { return s <= f.floor })
}

// charge adds what an item costs a caller. Companions make a call cheaper for everyone: its fixed cost is shared.
func (f *Fair) charge(caller string, s float64) {
	if f.served == nil {
		f.served = make(map[string]float64)
	}
	f.served[caller] = f.of(caller) + s
}

// Sent charges the members of a batch that goes out.
func (f *Fair) Sent(items []Item, b *Batch, cost Cost) {
	if len(b.Members) == 0 {
		return
	}
	f.quantum = max(quantumFade*f.quantum, cost.of(b.Load))
	share := max(cost.Fixed, minShare) / float64(len(b.Members))
	for _, m := range b.Members {
		f.charge(items[m].Caller, share+price(&items[m], cost))
	}
}

// quantumFade is how much of the largest call's time is left after each smaller one.
const quantumFade = 0.98

// minShare keeps the order of callers while nothing is known of costs.
const minShare = 1e-6

// price is what an item adds to a call of rows of its own length.
func price(it *Item, cost Cost) float64 {
	return float64(it.Rows) * max(cost.marginal(it.Length), minShare)
}

package intake

import "headrace/internal/job"

// backgroundTurn is how often background lanes are asked before the others: each fifth time. So a model server
// that synchronous requests keep busy still runs jobs.
const backgroundTurn = 5

// order is the order in which lanes are asked for what waits in them: those with waiting callers first but for the
// background's turns, routes of the same kind in turns, priorities by weight 8 to 3 to 1, so that none starves.
func (in *Intake) order(active []*puller) []*puller {
	in.turn++
	var waiting, background []*puller
	for _, p := range active {
		if p.queue.Background {
			background = append(background, p)
		} else {
			waiting = append(waiting, p)
		}
	}
	waiting, background = turned(waiting, in.next), preferred(turned(background, in.next), favourite(in.turn))
	if in.turn%backgroundTurn == 0 {
		return append(background, waiting...)
	}
	return append(waiting, background...)
}

// turned is a rotation.
func turned(pullers []*puller, by int) []*puller {
	if len(pullers) == 0 {
		return nil
	}
	by %= len(pullers)
	return append(pullers[by:len(pullers):len(pullers)], pullers[:by]...)
}

// favourite is the priority whose turn it is: of twelve turns eight are for interactive, three for standard and one
// for batch, spread evenly.
func favourite(turn int) job.Priority {
	switch turn % 12 {
	case 3, 7, 11:
		return job.Standard
	case 5:
		return job.Batch
	default:
		return job.Interactive
	}
}

// preferred puts the lanes of first before the others, and these in the order of their priorities.
func preferred(pullers []*puller, first job.Priority) []*puller {
	ordered := make([]*puller, 0, len(pullers))
	for _, p := range pullers {
		if p.queue.Priority == first {
			ordered = append(ordered, p)
		}
	}
	for _, priority := range job.Priorities() {
		for _, p := range pullers {
			if p.queue.Priority == priority && priority != first {
				ordered = append(ordered, p)
			}
		}
	}
	return ordered
}

// enter counts a message of a background lane until leave is called, once.
func (in *Intake) enter() (leave func()) {
	in.mu.Lock()
	in.jobs++
	if in.room > 0 {
		in.room--
	}
	in.mu.Unlock()
	return func() {
		in.mu.Lock()
		in.jobs--
		in.mu.Unlock()
		in.signal() // there may be room for another one
	}
}

// Jobs says how many more jobs may be leased from now on.
func (in *Intake) Jobs(n int) {
	in.mu.Lock()
	more := n > 0 && in.room <= 0
	in.room = n
	in.mu.Unlock()
	if more {
		in.signal()
	}
}

// storing is how many jobs may be leased, run or have their end stored at a time, as a multiple of what is leased at a
// time: a slot is free again before the end of its jobs is stored.
const storing = 4

// roomFor is how many messages may be leased from a lane now, of n for which slots are free. Background lanes have room
// within what Jobs said.
func (in *Intake) roomFor(p *puller, n int) int {
	most := p.lane.Room(n)
	if !p.queue.Background || most <= 0 {
		return most
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.room < 0 {
		return min(most, max(in.most-1, 1)-in.jobs)
	}
	return min(most, in.room, storing*in.most-in.jobs)
}

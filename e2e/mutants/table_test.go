package mutants_test

import "headrace/e2e/history"

// table lists the mutants.
func table() []mutant {
	return []mutant{
		{
			name: "record not written", breaks: history.Ends,
			edits: []edit{{`	err = j.store.Put(ctx, r, at)
	if errors.Is(err, records.ErrConflict) {
		err = j.replaceWithdrawn(ctx, r, at)
	}`, `	if at.UnixMicro()%8 != 0 {
		err = j.store.Put(ctx, r, at)
	}
	if errors.Is(err, records.ErrConflict) {
		err = j.replaceWithdrawn(ctx, r, at)
	}`}},
		},
		{
			name: "202 before the sync", breaks: history.Ends,
			edits: []edit{{`	if err := j.store.Settle(ctx, r); err != nil { // it may run by now: nothing is promised yet
		return nil, false, j.uncertain(r.ID, err)
	}`, ``}},
		},
		{
			name: "queue entry lost", breaks: history.Ends,
			edits: []edit{
				{`		if err := j.store.Enqueue(ctx, r); err != nil {
			return nil, false, j.withdraw(ctx, r, err)
		}`, `		if at.UnixMicro()%8 != 0 {
			if err := j.store.Enqueue(ctx, r); err != nil {
				return nil, false, j.withdraw(ctx, r, err)
			}
		}`},
				{`		s.putBack(id)
		return s.store.Enqueue(ctx, r)`, `		return nil`},
			},
		},
		{
			name: "late cancel wins", breaks: history.Final,
			edits: []edit{
				{`		if r.State.Terminal() || r.State == job.Cancelling {
			return true, nil
		}
		r.Cancel(now)`, `		if r.State.Terminal() && r.State != job.Succeeded || r.State == job.Cancelling {
			return true, nil
		}
		r.Cancel(now)`},
				{`	case r.State.Waiting():
		r.CancelAskedAt = &now
		r.end(Cancelled, "", now)`, `	case r.State.Waiting(), r.State == Succeeded:
		r.CancelAskedAt = &now
		r.end(Cancelled, "", now)`},
			},
		},
		{
			name: "success runs again", breaks: history.Final,
			edits: []edit{{`	case Failed, Cancelled, Expired:
	case Scheduled, Queued, Running, Retrying, Cancelling, Succeeded, Erased:
		return r.refuse("retry")`, `	case Failed, Cancelled, Expired, Succeeded:
	case Scheduled, Queued, Running, Retrying, Cancelling, Erased:
		return r.refuse("retry")`}},
		},
		{
			name: "erased job comes back", breaks: history.Final,
			edits: []edit{{`	if !was.Withdrawn() {
		return records.ErrConflict
	}`, `	if was.State != job.Erased {
		return records.ErrConflict
	}`}},
		},
		{
			name: "fence ignored", breaks: history.Final,
			edits: []edit{
				{`			if held = r.Held(a.runner.line.ID, a.start); !held {
				return true, nil
			}`, ``},
				{`	if r.State != Running && r.State != Cancelling {
		return r.refuse("succeed")
	}`, ``},
			},
		},
		{
			name: "claim granted after the end", breaks: history.Final,
			edits: []edit{
				{`	if r.State == job.Queued {
		a.delivery.message.GiveBackIn(kept)
		return
	}
	a.delivery.message.Ack()`, `	if r.State == job.Queued {
		a.delivery.message.GiveBackIn(kept)
		return
	}
	a.delivery.message.GiveBackIn(soon)`},
				{`		case job.Succeeded, job.Failed, job.Cancelled, job.Expired, job.Erased:
			return true, nil
		case job.Scheduled, job.Queued, job.Retrying:
		}
		if r.StartsAlone()`, `		case job.Failed, job.Cancelled, job.Expired, job.Erased:
			return true, nil
		case job.Scheduled, job.Queued, job.Retrying, job.Succeeded:
		}
		if r.StartsAlone()`},
				{`	case !r.Ripe(now):
		return r.refuse("start")`, `	case !r.Ripe(now) && r.State != Succeeded:
		return r.refuse("start")`},
			},
		},
		{
			name: "end shown before the sync", breaks: history.Final,
			edits: []edit{{`	if !r.State.Terminal() {
		return nil
	}
	return s.Settle(ctx, r)`, `	return nil`}},
		},
		{
			name: "results swapped", breaks: history.Same,
			edits: []edit{{`	link.WriteResult(&w, result)
	segments, size := w.Finish()
	data := link.Joined(make([]byte, 0, size), segments)
	series :=`, `	link.WriteResult(&w, result)
	segments, size := w.Finish()
	data := link.Joined(make([]byte, 0, size), segments)
	if other, ok := latestResult.Swap(data).([]byte); ok && len(data)%2 == 0 {
		data = other
	}
	series :=`}},
			more: `
import "sync/atomic"

var latestResult atomic.Value
`,
		},
		{
			name: "result erased early", breaks: history.Same,
			edits: []edit{{`	if body.Parts > 0 && (r == nil || r.Result == nil || r.Result.Series != series) {`, `	if body.Parts > 0 {`}},
		},
		{
			name: "call repeated without a record", breaks: history.Recorded,
			edits: []edit{{`	return t.Upstream.Do(ctx, call, t.Route.MaxReply)
`, `	reply, release, err := t.Upstream.Do(ctx, call, t.Route.MaxReply)
	if err != nil {
		reply, release, err = t.Upstream.Do(ctx, call, t.Route.MaxReply)
	}
	return reply, release, err
`}},
		},
		{
			name: "interruption without a record", breaks: history.Recorded,
			edits: []edit{{`	t.Interruptions++
	t.Attempt--
	t.close("interrupted", nil, now)`, `	t.Attempt--
	t.Attempts = t.Attempts[:max(len(t.Attempts)-1, 0)]`}},
		},
		{
			name: "retry beyond the policy", breaks: history.Recorded,
			edits: []edit{{`r.Attempt >= r.Retry.MaxAttempts`, `r.Attempt > r.Retry.MaxAttempts`}},
		},
		{
			name: "one key, two jobs", breaks: history.One,
			edits: []edit{{`		wanted.ID = id // of the first request with this key: accepting the same job twice makes one
`, `		_ = id
`}},
		},
		{
			name: "another body under a key", breaks: history.One,
			edits: []edit{{`	if was.Fingerprint != r.Fingerprint {
		return nil, false, fault.New(fault.KeyReused, "job %s exists`, `	if false {
		return nil, false, fault.New(fault.KeyReused, "job %s exists`}},
		},
		{
			name: "lease never given back", breaks: history.Idle,
			edits: []edit{
				{`	if r.State == job.Queued {
		a.delivery.message.GiveBackIn(kept)
		return
	}
	a.delivery.message.Ack()`, `	if r.State == job.Queued {
		a.delivery.message.GiveBackIn(kept)
		return
	}
	if time.Now().UnixMicro()%8 == 0 { // all of them would keep the workers busy
		a.delivery.message.GiveBackIn(soon)
		return
	}
	a.delivery.message.Ack()`},
				{`		d.message.Ack() // it has ended, or the sweeper queues it again when its time comes
`, `		d.message.GiveBackIn(soon)
`},
			},
		},
		{
			name: "slot never given back", breaks: history.Idle,
			edits: []edit{{`	d.busy--
	rows := l.batch.Load.Rows
`, `	if d.busy > 3 || now.UnixMicro()%4 != 0 { // it loses three of them at most, so that jobs go on
		d.busy--
	}
	rows := l.batch.Load.Rows
`}},
		},
		{
			name: "lost worker's job stays", breaks: history.Recovery,
			edits: []edit{{`			case fateLost:
				lost = r.State == job.Running
`, `			case fateLost:
				return true, errHeld
`}},
		},
		{
			name: "event left out", breaks: history.Events,
			edits: []edit{{`	_ = e.send("done", rec) // an error means that the caller has gone
`, ``}},
		},
		{
			name: "resumed without a snapshot", breaks: history.Events,
			edits: []edit{{`	if ` + "`\"`" + `+r.Header.Get("Last-Event-ID")+` + "`\"`" + ` == etag(rec) {`, `	if r.Header.Get("Last-Event-ID") != "" {`}},
		},
	}
}

package calls

import (
	"time"

	"headrace/internal/fault"
)

// awayPatience is how long a call that no worker has claimed outlives the connection, where there are other servers to go to:
// a reconnect takes some tenths of a second.
const awayPatience = 2 * time.Second

// connectionLost ends the calls in flight, because frames sent while the connection is lost do not arrive. A call that no
// worker has claimed did not run, and cannot: its claim is answered here. It may wait for another server.
func (f *FrontEnd) connectionLost() {
	f.workers.Clear()
	f.post.forgetAll()
	select {
	case <-f.ready:
	default:
		return // there are no calls yet
	}
	elsewhere := f.elsewhere()
	for _, c := range f.calls.all() {
		if !elsewhere || c.holder() != "" {
			f.abandon(c)
		}
	}
	if elsewhere {
		time.AfterFunc(awayPatience, f.stillAway)
	}
}

// elsewhere reports whether there are other servers to go to.
func (f *FrontEnd) elsewhere() bool { return len(f.link.NC.Servers()) > 1 }

// stillAway ends the calls that wait for another server, if there was none. It looks again until there is.
func (f *FrontEnd) stillAway() {
	if nc := f.link.NC; nc.IsConnected() || nc.IsClosed() {
		return
	}
	for _, c := range f.calls.all() {
		f.abandon(c)
	}
	time.AfterFunc(awayPatience, f.stillAway)
}

// awaited reports whether a publish that has failed is made again by itself, when the connection to another server is there.
func (f *FrontEnd) awaited() bool { return !f.link.NC.IsConnected() && f.elsewhere() }

// connectionBack asks the workers to announce themselves again, and has the calls published again that have waited for another
// server: what is said of their first publish is lost. The connection may be lost and back before Run has made the second one;
// Run asks in any case.
func (f *FrontEnd) connectionBack() {
	select {
	case <-f.ready:
	default:
		return
	}
	f.askPresence()
	for _, c := range f.calls.all() {
		if c.resend() {
			f.inbox.repeat(c)
		}
	}
}

// resend forgets that the call was published, and reports whether it is to be published again.
func (c *call) resend() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != callWaiting || c.published.IsZero() {
		return false
	}
	c.sequence = 0
	return true
}

// abandon ends a call whose connection is lost.
func (f *FrontEnd) abandon(c *call) {
	if c.holder() != "" {
		c.end(outcome{err: fault.New(fault.UpstreamUnavailable,
			"the connection to the broker was lost while the call ran; it may have run; try again")})
		return
	}
	c.end(outcome{err: fault.New(fault.NoWorkers,
		"the connection to the broker was lost before a worker took the call; it did not run; try again")})
}

package natstest

import "go.uber.org/goleak"

// Leaks are the goroutines that an embedded server forgets when it is stopped while it makes a stream: the store is there and
// no stream that would close it. Tests that stop servers at any time leave them out; a process that stops its server ends.
func Leaks() []goleak.Option {
	const server = "github.com/nats-io/nats-server/v2/server"
	return []goleak.Option{
		goleak.IgnoreTopFunction(server + ".(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction(server + "/ats.Register.func1"),
	}
}

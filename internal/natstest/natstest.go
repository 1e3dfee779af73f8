// Package natstest runs a real NATS server with JetStream inside a test process.
package natstest

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Options are what tests vary.
type Options struct {
	User, Password string
	Dir            string // of the streams; "" = a temporary one
	Port           int    // 0 = any
}

// Start runs a server that listens on loopback until the test ends, or stop is called, and gives its URL.
func Start(tb testing.TB, o Options) (url string, stop func()) {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = tb.TempDir()
	}
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	ns, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: o.Port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: o.Dir,
		JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: 1 << 30, Username: o.User, Password: o.Password,
	})
	if err != nil {
		tb.Fatal(err)
	}
	ns.Start()
	stop = func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
	tb.Cleanup(stop)
	if !ns.ReadyForConnections(10 * time.Second) {
		tb.Fatal("the NATS server did not start")
	}
	return ns.ClientURL(), stop
}

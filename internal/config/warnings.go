package config

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// LanesTogether is how many routes can have calls delivered at the same time, over all streams of the broker. Where more have
// calls, each keeps its place for LaneTurn.
const (
	LanesTogether = 2048
	LaneTurn      = time.Second
)

// warnings are what a valid configuration should make its owner look at. A process that listens where others can reach it
// is one: Headrace asks callers for no credentials. api.exposed says that this is meant.
func warnings(doc *document, c *Config) []Problem {
	var all []Problem
	warn := func(key, hint, message string) {
		all = append(all, Problem{File: doc.file, Line: doc.line(key), Key: key, Message: message, Hint: hint})
	}
	if !c.API.Exposed {
		const hint = "listen on 127.0.0.1, let a firewall or a proxy decide who comes in, and set api.exposed = true to say that this is meant"
		for _, l := range []struct{ key, address, what string }{
			{"api.listen", c.API.Listen, "call every model and place jobs"},
			{"broker.ops_listen", c.Broker.OpsListen, "read the broker's metrics"},
			{"worker.ops_listen", c.Worker.OpsListen, "read the workers' metrics, with the addresses of the model servers"},
		} {
			if l.address != "" && !loopback(l.address) {
				warn(l.key, hint, "other machines can reach "+reach(l.address)+"; any of them can "+l.what+", without a password")
			}
		}
	}
	if n := c.Table.Len(); n > LanesTogether {
		warn("", "nothing, if few of them are called at the same time; else run several gateways, each with some of the routes",
			fmt.Sprintf("%d routes are more than the %d that can have calls delivered at the same time; beyond that, routes with calls take turns: "+
				"if all of them had calls at the same time, each would be served about every %s, and its jobs as seldom",
				n, LanesTogether, (time.Duration(n)*LaneTurn/LanesTogether).Round(100*time.Millisecond)))
	}
	if c.Table.Len() == 0 {
		warn("", "add an entry [[routes]] or [[endpoints]]", "there are no routes, so every call is answered with 404")
	}
	return all
}

// reach is an address that is not loopback, in words.
func reach(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		return address + " (all addresses of this machine, IPv4 and IPv6)"
	}
	return address
}

package natstest

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// nowhere is an address at which nothing listens: servers of a cluster reach each other by their configured ways only.
const nowhere = "127.0.0.1:1"

// Cluster is several NATS servers that form one cluster, all in the test's process. Clients and servers reach each server by
// ways that can be cut, so that a server can vanish as if its machine had lost its power. One goroutine at a time may call its
// methods.
type Cluster struct {
	Nodes []*Node
}

// Node is one server of a cluster.
type Node struct {
	tb   testing.TB
	name string
	dir  string
	door *Severable   // of clients
	ways []*Severable // to the other servers, and from them
	out  []*url.URL   // the beginnings of those to them
	in   []*Severable // those from them

	clients, routes int // ports, after the first start

	ns *server.Server // nil while it does not run
}

// StartCluster runs n servers that listen on loopback until the test ends, which must not happen while the test is in one
// of the cluster's methods. It returns when streams can be made with a copy on each server.
func StartCluster(tb testing.TB, n int) *Cluster {
	tb.Helper()
	c := new(Cluster)
	for i := range n {
		c.Nodes = append(c.Nodes, &Node{tb: tb, name: "n" + strconv.Itoa(i+1), dir: tb.TempDir(), door: newWay(tb)})
	}
	for _, from := range c.Nodes {
		for _, to := range c.Nodes {
			if from == to {
				continue
			}
			way := newWay(tb)
			from.ways, to.ways, to.in = append(from.ways, way), append(to.ways, way), append(to.in, way)
			from.out = append(from.out, &url.URL{Scheme: "nats", Host: way.listener.Addr().String()})
		}
	}
	for _, node := range c.Nodes {
		tb.Cleanup(node.Stop)
		node.run()
	}
	c.Await()
	return c
}

// URLs is what clients connect to: all servers, separated by commas.
func (c *Cluster) URLs() string {
	urls := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		urls[i] = node.URL()
	}
	return strings.Join(urls, ",")
}

// Await waits until every server that runs is current, and one of them leads.
func (c *Cluster) Await() {
	c.Nodes[0].tb.Helper()
	current := func() bool {
		leaders := 0
		for _, node := range c.Nodes {
			if node.ns == nil {
				continue
			}
			if node.ns.JetStreamIsLeader() {
				leaders++
			}
			if !node.ns.JetStreamIsCurrent() {
				return false
			}
		}
		return leaders == 1
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !current(); <-tick.C {
		if time.Now().After(end) {
			c.Nodes[0].tb.Fatal("the cluster has no leader, or a server that does not follow it")
		}
	}
}

// Leads returns the node that leads a stream; nil when none does.
func (c *Cluster) Leads(stream string) *Node {
	for _, node := range c.Nodes {
		if node.ns != nil && node.ns.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return node
		}
	}
	return nil
}

// Leader returns the node that leads the cluster, and so decides where streams are; nil when none does.
func (c *Cluster) Leader() *Node {
	for _, node := range c.Nodes {
		if node.ns != nil && node.ns.JetStreamIsLeader() {
			return node
		}
	}
	return nil
}

// URL is what clients connect to.
func (n *Node) URL() string { return "nats://" + n.door.listener.Addr().String() }

// Name is the server's name.
func (n *Node) Name() string { return n.name }

// Kill ends the server without a goodbye: all its connections break at once, and nothing that it says while it ends is heard.
func (n *Node) Kill() {
	n.isolate()
	n.Stop()
}

// isolate breaks all connections of the server, and those that are made until it runs again.
func (n *Node) isolate() {
	n.door.Lose()
	for _, way := range n.ways {
		way.Lose()
	}
}

// Blink breaks the connections of the server's clients, and lets them come back.
func (n *Node) Blink() {
	n.door.Lose()
	n.door.Restore()
}

// Stop ends the server in good order and waits until it has ended.
func (n *Node) Stop() {
	if n.ns != nil {
		n.ns.Shutdown()
		n.ns.WaitForShutdown()
		n.ns = nil
	}
	n.isolate()
}

// LameDuck ends the server as an operator does who takes it out of service: it hands over what it leads, and asks its clients
// to go. It returns when the server has ended.
func (n *Node) LameDuck() {
	n.ns.LameDuckShutdown()
	n.Stop()
}

// Freeze keeps back all that the server says and hears, with its connections open, as when its process is stopped. Thaw ends that.
func (n *Node) Freeze() {
	n.door.Stall()
	for _, way := range n.ways {
		way.Stall()
	}
}

// Thaw lets a frozen server go on.
func (n *Node) Thaw() {
	n.door.Resume()
	for _, way := range n.ways {
		way.Resume()
	}
}

// Restart starts the server again, with what it has stored.
func (n *Node) Restart() {
	n.tb.Helper()
	n.Stop()
	n.run()
}

func (n *Node) run() {
	n.tb.Helper()
	at := func(port int) int {
		if port == 0 {
			return server.RANDOM_PORT
		}
		return port
	}
	ns, err := server.NewServer(&server.Options{
		ServerName: n.name, Host: "127.0.0.1", Port: at(n.clients), ClientAdvertise: n.door.listener.Addr().String(),
		NoSigs: true, NoLog: true, JetStream: true, StoreDir: n.dir, JetStreamMaxMemory: 256 << 20, JetStreamMaxStore: 1 << 30,
		Cluster: server.ClusterOpts{Name: "natstest", Host: "127.0.0.1", Port: at(n.routes), Advertise: nowhere},
		Routes:  n.out, LameDuckDuration: 2 * time.Second, LameDuckGracePeriod: 200 * time.Millisecond,
	})
	if err != nil {
		n.tb.Fatal(err)
	}
	ns.Start()
	n.ns = ns
	if !ns.ReadyForConnections(10 * time.Second) {
		n.tb.Fatal("a server of the cluster did not start")
	}
	if addr, ok := ns.Addr().(*net.TCPAddr); ok {
		n.clients = addr.Port
	}
	n.routes = ns.ClusterAddr().Port
	for _, way := range n.ways {
		way.Restore()
	}
	n.door.lead(net.JoinHostPort("127.0.0.1", strconv.Itoa(n.clients)))
	for _, way := range n.in {
		way.lead(net.JoinHostPort("127.0.0.1", strconv.Itoa(n.routes)))
	}
}

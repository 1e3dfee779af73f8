// Package natsd is the embedded NATS server, which the broker role runs unless broker.url names an external one.
//
// It owns data_dir: its lock, its room (DiskFull), and what is known to be on it. Where durability is "power", it syncs
// on request (syncer.go), and after a failed sync it rewrites what may be lost (doubt.go). Begin with server.go.
package natsd

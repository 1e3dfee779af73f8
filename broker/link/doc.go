// Package link is one connection to NATS, and the words that both of its ends agree on. Every other room of broker uses it,
// and it uses none of them.
//
// It owns how a process dials and reconnects (Dial, Link), how it asks for a stream or a consumer that is missing (Ensure,
// Wish), how it follows a stream (Link.Follow), the names of the sync lane (LaneOf, the Subject constants), and the binary
// codec of messages (Writer, Reader). Begin with conn.go, then names.go and codec.go.
package link

package mlflowtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"
)

// ClientRequest is one request of a real client library, as it was seen on its connection, and what the server
// answered: a real gateway, or "refstub", a reference for OpenAI's service.
type ClientRequest struct {
	Client  string      `json:"client"` // library and version
	Server  string      `json:"server"`
	Part    string      `json:"part"` // what the client was asked to do
	Method  string      `json:"method"`
	Target  string      `json:"target"`
	Headers [][2]string `json:"headers"` // in their order
	Body    string      `json:"body"`
	Reply   struct {
		Status int    `json:"status"`
		Body   string `json:"body"`
	} `json:"reply"`
}

// Wire is the request byte for byte, but for the address it is sent to.
func (r *ClientRequest) Wire(address string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", r.Method, r.Target)
	for _, h := range r.Headers {
		value := h[1]
		if h[0] == "Host" || h[0] == "host" {
			value = address
		}
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], value)
	}
	fmt.Fprintf(&b, "\r\n%s", r.Body)
	return b.Bytes()
}

// ClientRequests gives the recorded requests in their order.
func ClientRequests(tb testing.TB) []ClientRequest {
	tb.Helper()
	text, err := recorded.ReadFile("testdata/recorded/clients.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	var all []ClientRequest
	lines := json.NewDecoder(bytes.NewReader(text))
	for {
		var r ClientRequest
		err := lines.Decode(&r)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			tb.Fatalf("client request %d: %v", len(all)+1, err)
		}
		all = append(all, r)
	}
}

package mlflowtest

import (
	"bytes"
	"embed"
	"encoding/base64"
	"encoding/json"
	"io"
	"testing"
)

// recorded holds exchanges with real MLflow gateways over a scripted model server.
//
//go:embed testdata/recorded/*.jsonl
var recorded embed.FS

// Era names a recorded version of MLflow's gateway.
type Era string

// The recorded versions.
const (
	EraA Era = "A" // MLflow 2.8.1: routes, candidates
	EraB Era = "B" // MLflow 2.22.4: endpoints, choices
	EraC Era = "C" // MLflow 3.17.2: as B, later parameters
)

// Eras lists all of them.
func Eras() []Era { return []Era{EraA, EraB, EraC} }

// vendors holds exchanges with real MLflow gateways over scripted APIs of OpenAI and Anthropic, and what the gateways were
// configured with.
//
//go:embed testdata/vendors/*.jsonl testdata/vendors/*.json
var vendors embed.FS

// Exchange is one recorded request to a gateway, what the model server got and answered, and the reply.
type Exchange struct {
	ID       string            `json:"id"`
	Era      string            `json:"era"`      // the version, for example "2.8.1"
	Endpoint string            `json:"endpoint"` // the route the request is meant for; "" when it is for none
	Why      string            `json:"why"`
	Request  RecordedRequest   `json:"request"`
	Upstream *RecordedUpstream `json:"upstream"` // nil: the model server was not contacted

	Sent        *string           `json:"sent"` // the body the model server received
	SentPath    string            `json:"sent_path"`
	SentMethod  string            `json:"sent_method"`
	SentHeaders map[string]string `json:"sent_headers"`
	SentMore    json.RawMessage   `json:"sent_more"` // further requests, after a redirect

	Reply    RecordedReply   `json:"reply"`
	Volatile []string        `json:"volatile"`  // members of the reply that differ from run to run
	Group    string          `json:"group"`     // exchanges that are to be run in order against a fresh gateway
	Step     json.RawMessage `json:"step"`      // the place in that order
	Server   string          `json:"server"`    // "big": a gateway with 3005 entries
	Elapsed  float64         `json:"elapsed_s"` // seconds until the gateway gave up on a model server that hangs
	SentTo   string          `json:"sent_to"`   // the vendor's own address, where the recording led it elsewhere
}

// RecordedRequest is what the client sent.
type RecordedRequest struct {
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	Text    *string           `json:"body"`     // nil: none, or it is in Base64
	Base64  string            `json:"body_b64"` // a body that is not UTF-8
	Chunked bool              `json:"chunked"`
}

// Body is the body's bytes; nil when there was none.
func (r *RecordedRequest) Body(tb testing.TB) []byte {
	tb.Helper()
	if r.Base64 == "" {
		if r.Text == nil {
			return nil
		}
		return []byte(*r.Text)
	}
	body, err := base64.StdEncoding.DecodeString(r.Base64)
	if err != nil {
		tb.Fatalf("recorded body: %v", err)
	}
	return body
}

// RecordedUpstream is what the model server answered: a reply, or a fault.
type RecordedUpstream struct {
	Status      int               `json:"status"`
	ContentType *string           `json:"content_type"` // nil: no such header
	Text        string            `json:"body"`
	BytesAs     string            `json:"bytes_as"` // charset of the bytes, "" = UTF-8
	Headers     map[string]string `json:"headers"`
	Reason      *string           `json:"reason"` // nil: the usual phrase
	HTTP        string            `json:"http"`   // "1.0" or ""
	Transfer    string            `json:"transfer"`
	Encoding    string            `json:"content_encoding"` // the body was compressed that way
	Fault       string            `json:"fault"`            // refused, closed, reset, garbage, cut, hang
	Then        json.RawMessage   `json:"then"`             // answers to further requests, after a redirect
	Chunks      []string          `json:"chunks"`           // of a stream, in place of the body
	ChunksAs64  []string          `json:"chunks_b64"`       // pieces that are not UTF-8 by themselves
	End         string            `json:"end"`              // of a stream: clean, early or reset
}

// Body is the bytes of the answer before any compression.
func (u *RecordedUpstream) Body(tb testing.TB) []byte {
	tb.Helper()
	switch u.BytesAs {
	case "":
		return []byte(u.Text)
	case "latin-1":
		body := make([]byte, 0, len(u.Text))
		for _, r := range u.Text {
			body = append(body, byte(r&0xff))
		}
		return body
	}
	tb.Fatalf("recorded answer in an unknown charset %q", u.BytesAs)
	return nil
}

// RecordedReply is what the gateway answered.
type RecordedReply struct {
	Status        int             `json:"status"`
	ContentType   *string         `json:"content_type"` // nil: no such header
	Location      string          `json:"location"`
	Allow         string          `json:"allow"`
	RetryAfter    string          `json:"retry_after"`
	Body          *string         `json:"body"` // nil: see Length and Hash
	Truncated     bool            `json:"body_truncated"`
	Length        int             `json:"body_len"`
	Hash          string          `json:"body_sha256"`
	Head          string          `json:"body_head"`
	Tail          string          `json:"body_tail"`
	ContentLength json.RawMessage `json:"content_length"` // of an answer to HEAD
	Cut           bool            `json:"cut"`
	Chunks        []string        `json:"chunks"` // of a stream
	Others        json.RawMessage `json:"other_headers"`
}

// Exchanges gives the recordings of one version over model servers of MLflow, in their order.
func Exchanges(tb testing.TB, era Era) []Exchange {
	tb.Helper()
	return exchanges(tb, era, recorded, "testdata/recorded/era")
}

// VendorExchanges gives the recordings of one version over APIs of vendors, in their order.
func VendorExchanges(tb testing.TB, era Era) []Exchange {
	tb.Helper()
	return exchanges(tb, era, vendors, "testdata/vendors/era")
}

// VendorRoute is an entry of the configuration of a recorded gateway.
type VendorRoute struct {
	Name         string            `json:"name"`
	Type         string            `json:"type"`
	Provider     string            `json:"provider"`
	Model        string            `json:"model"`
	Config       map[string]string `json:"config"`
	Destinations []struct {
		Name    string `json:"name"`
		Percent int    `json:"percent"`
	} `json:"destinations"` // of a traffic route, which has no model
}

// VendorRoutes gives the configuration that VendorExchanges of a version were recorded with.
func VendorRoutes(tb testing.TB, era Era) []VendorRoute {
	tb.Helper()
	text, err := vendors.ReadFile("testdata/vendors/config" + string(era) + ".json")
	if err != nil {
		tb.Fatal(err)
	}
	var all []VendorRoute
	if err := json.Unmarshal(text, &all); err != nil {
		tb.Fatal(err)
	}
	return all
}

func exchanges(tb testing.TB, era Era, from embed.FS, prefix string) []Exchange {
	tb.Helper()
	text, err := from.ReadFile(prefix + string(era) + ".jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	var all []Exchange
	lines := json.NewDecoder(bytes.NewReader(text))
	for {
		var e Exchange
		err := lines.Decode(&e)
		if err == io.EOF {
			return all
		}
		if err != nil {
			tb.Fatalf("era %s, exchange %d: %v", era, len(all)+1, err)
		}
		all = append(all, e)
	}
}

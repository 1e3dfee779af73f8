// Package provider says what Headrace asks of the code that speaks one kind of model server's format.
//
// A provider is pure: it turns a neutral request into the bytes of one HTTP call, and the reply into a
// neutral result. It opens no connection and knows nothing of queues. Providers that stream implement a second, optional
// interface beside this one, Streamer.
package provider

import (
	"time"

	"headrace/internal/inference"
)

// Call is one HTTP POST to a model server, relative to its base URL.
type Call struct {
	Path        string // not escaped, joined to the base URL with exactly one slash
	Query       string // escaped, put behind the base URL's own; "" = none
	ContentType string
	// Header is sent beside the headers of the route, which count where both have one. Values may be credentials: no log and
	// no error shows them.
	Header map[string]inference.Secret
	Body   []byte
	// Method is another one than POST; "" = POST.
	Method string
	// Server is the replica to ask, as Reply.Server named it; "" = any. Another one is asked when it is down.
	Server string
	// Dropped are members of the caller's request that the call does not say.
	Dropped []string
	// Once forbids to send it again once the model server may have read it. Others are, when a kept connection breaks
	// before a byte comes back, because then the server has most likely closed it for being idle.
	Once bool
	// Stream says that the reply may come in pieces; nil: it is read whole.
	Stream *StreamLimits
}

// StreamLimits bounds a reply that comes in pieces.
type StreamLimits struct {
	// MaxEvent is how many bytes one event may have.
	MaxEvent int64
}

// Reply is what the model server answered, with any Content-Encoding already undone.
type Reply struct {
	Status int
	Reason string // the reason phrase of the status line, "" when it had none
	// ContentType is the header's value; "" when it was absent.
	ContentType string
	// RetryAfter is what the server asked for; 0 when it did not.
	RetryAfter time.Duration
	Body       []byte
	// Server is the replica that answered, without what may be secret in its address.
	Server string
	// Form is the one in which it was asked, of a Former; "" otherwise. Dropped is what its call did not say.
	Form    string
	Dropped []string
	// Events is a reply that comes in pieces, in place of Body; nil for a whole one. Whose reply it is closes it.
	Events Events
}

// Provider translates for one kind of model server. Its methods may be called concurrently, keep no
// reference to the bytes they were given beyond the returned value (which may alias them), and return a
// *fault.Error for every failure.
type Provider interface {
	// Encode makes the call for one request. Invalid: the request has a form this provider cannot express.
	Encode(route *inference.Route, req *inference.Request) (Call, error)
	// Decode judges the reply: UpstreamError for a 4xx or 5xx, UpstreamBadResponse for a wrong shape.
	Decode(route *inference.Route, req *inference.Request, reply Reply) (*inference.Result, error)
}

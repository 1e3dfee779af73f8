// Package inference holds the words that every part of Headrace shares: Route, Request, Result.
//
// They are neutral. Dialects (MLflow's, OpenAI's) are spoken in api only, formats of model servers in
// internal/provider only; between the two travel a Request and a Result whose items are raw JSON bytes,
// so no number and no string is decoded and encoded again on the way.
package inference

import "time"

// Type says what a route does. The values are MLflow's.
type Type string

// The route types.
const (
	Completions Type = "llm/v1/completions"
	Chat        Type = "llm/v1/chat"
	Embeddings  Type = "llm/v1/embeddings"
	// Raw passes the model server's own body through, whatever its prediction looks like.
	Raw Type = "mlflow/v1/invocations"
)

// Types lists the closed set.
func Types() []Type { return []Type{Completions, Chat, Embeddings, Raw} }

// Family is the list of gateway.toml that declared a route; it decides the dialect of
// /gateway/{name}/invocations.
type Family string

// The families.
const (
	Routes    Family = "routes"    // MLflow 2.5 to 2.8: text, candidates
	Endpoints Family = "endpoints" // MLflow 2.9 and later: input, choices
)

// Request is one call in neutral form. Its slices are read-only once it was passed on.
type Request struct {
	ID    string // the request id, for logs on the way
	Route string // name of the route
	Type  Type
	// Caller is the same for all requests of one caller, which share model servers fairly with those of others; "" when it
	// is not known.
	Caller string
	// Items are raw JSON values in order: prompts, texts, or the content of one chat message. nil on a Raw route.
	Items [][]byte
	// Params is a raw JSON object, nil when there are none.
	Params []byte
	// Body is, on a Raw route, the caller's body as it came. On a chat route it is the call in OpenAI's form, of chat or
	// of responses, for models that take more than one text; nil when the caller's dialect has no more than that.
	Body []byte
	// Once says that every run of the request is recorded: nothing on the way to the model server may repeat it silently.
	Once bool
	// Stream says that the caller takes the answer in pieces.
	Stream bool
	// Alone says that it must not share a call with others: it may be what kills model servers or workers.
	Alone bool
}

// Size is the number of bytes the request holds, as limits count them.
func (r *Request) Size() int64 {
	n := int64(len(r.Params) + len(r.Body))
	for _, item := range r.Items {
		n += int64(len(item))
	}
	return n
}

// Result is a normalised answer. Its receiver calls Release once, after writing out its bytes; they must not be used
// afterwards.
type Result struct {
	// Items are raw JSON values in order: strings for completions and chat, arrays of numbers for embeddings.
	// For embeddings there is one for each item of the request unless the model server answered otherwise.
	Items [][]byte
	// Groups says, for a text request of several items, how many of Items answer each of them. nil: all
	// answer the only one.
	Groups []int
	// Body is, on a Raw route, the model server's answer as it came, with NaN and Infinity made null. Elsewhere: without
	// Items it is the answer to Request.Body in its form, with Items an object of what is told beside them, usage and
	// finish_reasons; nil when nothing is.
	Body []byte
	// Stream is an answer that comes in pieces, in place of Items, Groups and Body; nil for a whole one. Release closes it.
	Stream Stream
	// Dropped are members of the request that did not reach the model.
	Dropped []string
	// Queue is how long the call waited for a slot, Upstream how long the model server took.
	Queue, Upstream time.Duration
	// Gather is how long the slot waited for company, and Batch how many requests shared the call to the model server;
	// 0: it is not known.
	Gather time.Duration
	Batch  int

	release func()
}

// OnRelease sets the function that returns the result's bytes to their budget. It replaces any earlier one.
func (r *Result) OnRelease(f func()) { r.release = f }

// Release returns the result's bytes. It is safe to call on a nil result and more than once.
func (r *Result) Release() {
	if r != nil && r.release != nil {
		r.release()
		r.release = nil
	}
}

// Size is the number of bytes the result holds.
func (r *Result) Size() int64 {
	n := int64(len(r.Body))
	for _, item := range r.Items {
		n += int64(len(item))
	}
	return n
}

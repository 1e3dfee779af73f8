package inference

import (
	"iter"
	"slices"
	"time"
)

// Route is one entry of `[[routes]]` or `[[endpoints]]`, complete: defaults of other tables are filled in.
// It is immutable.
type Route struct {
	Name        string
	Type        Type
	Family      Family
	Description string

	Provider string // in canonical spelling, for example "mlflow-model-serving"
	Model    string // model.name, echoed to callers; "" when the entry has none

	// Servers are the base URLs of the model server's replicas, as configured; at least one.
	Servers []string
	// Headers are sent with each upstream call. Values may be secrets: never log them.
	Headers map[string]string
	// Vendor is how a model is asked that a vendor serves; nil = a model server of MLflow's.
	Vendor *Vendor
	// TLSCA is the path of a PEM file with the only authorities the model server's certificate may come from; "" = the system's.
	TLSCA string

	Timeout        time.Duration // one call to the model server
	ConnectTimeout time.Duration
	SyncTimeout    time.Duration // a synchronous call in all: waiting and running
	StreamIdle     time.Duration // between two pieces of an answer that comes in pieces
	StreamMax      time.Duration // such an answer in all
	MaxReply       int64         // bytes of a model server's answer
	MaxEvent       int64         // bytes of one piece of a model server's answer
	Slots          int           // calls in flight per model server URL and worker process; at least 1
	LearnSlots     bool          // Slots is where the worker begins to learn how many pay

	MaxWaiting      int   // synchronous calls accepted and not yet claimed, per front end
	MaxWaitingBytes int64 // the same, in bytes

	// Fallbacks are names of routes of the same type that are asked, in this order, when a synchronous call to this one fails.
	Fallbacks []string

	Limit *Limit // MLflow's rate limit; nil = none
	// NaNError makes NaN and Infinity in a reply an error instead of null.
	NaNError bool
	// Tokens says that the model takes lists of token ids, which are refused elsewhere on /v1.
	Tokens bool
	// ChatTemplate renders a conversation on /v1/chat/completions; "" = the default rendering.
	ChatTemplate string
	// Output maps a prediction's shape; nil = MLflow's own rules.
	Output *Output
	// Format is how the model server wants to be asked; "" = as MLflow's gateway would, until it names another form.
	Format Format
	// RefuseDropped refuses a call of which something would not reach the model, instead of naming it in the reply.
	RefuseDropped bool
	// Batch says how far calls may share a call to the model server. The zero value shares none.
	Batch Batch
}

// Batch bounds the calls to a model server that carry the rows of several requests.
type Batch struct {
	Mode       BatchMode
	MaxItems   int           // rows in one call; at least 1
	MaxBytes   int64         // of the rows in one call; a single request may have more
	GatherMax  time.Duration // how long a free slot may wait for company; 0 = never
	LatencyMax time.Duration // how long a shared call may be expected to take; 0 = no bound
}

// BatchMode says whether requests share calls.
type BatchMode string

// The modes. Auto shares after a proof that rows do not depend on each other, On without one.
const (
	BatchAuto BatchMode = "auto"
	BatchOn   BatchMode = "on"
	BatchOff  BatchMode = "off"
)

// Shares says whether requests may share calls at all.
func (b Batch) Shares() bool { return b.Mode == BatchAuto || b.Mode == BatchOn }

// Format is how a model server wants to be asked.
type Format string

// The formats.
const (
	FormatAuto        Format = "auto"        // it is recognised before the first call
	FormatInputs      Format = "inputs"      // rows in `inputs`, as MLflow's gateway asked
	FormatChat        Format = "chat"        // ChatModel, llm/v1/chat
	FormatCompletions Format = "completions" // llm/v1/completions
	FormatEmbeddings  Format = "embeddings"  // llm/v1/embeddings
	FormatResponses   Format = "responses"   // ResponsesAgent, AgentServer
	FormatAgent       Format = "agent"       // ChatAgent
)

// Formats lists those that a route of the type t may have.
func Formats(t Type) []Format {
	switch t {
	case Completions:
		return []Format{FormatAuto, FormatInputs, FormatCompletions}
	case Chat:
		return []Format{FormatAuto, FormatInputs, FormatChat, FormatCompletions, FormatResponses, FormatAgent}
	case Embeddings:
		return []Format{FormatAuto, FormatInputs, FormatEmbeddings}
	case Raw:
	}
	return nil
}

// Native says that the route's model server takes conversations, not one text.
func (r *Route) Native() bool {
	return r.Vendor != nil || r.Format == FormatChat || r.Format == FormatResponses || r.Format == FormatAgent
}

// Limit is MLflow's rate limit: Calls in each fixed window of Period, by client address and path.
type Limit struct {
	Calls  int
	Period string // as written: "minute", "2 minutes", ...
	Key    string // kept for listings; without effect, as in MLflow's open-source gateway
	Window time.Duration
}

// Output declares where an item's answer stands inside one prediction, for model servers that wrap it.
type Output struct {
	// Field is the key whose value is the answer, in predictions such as [{"embedding": [...]}].
	Field string
}

// Table is the immutable set of routes that one configuration declares, in the order of the file.
type Table struct {
	routes []*Route
	byName map[string]*Route

	splits      []*Split
	splitByName map[string]*Split
}

// NewTable makes a table. Names must be unique; a later duplicate is ignored (the configuration refuses it before).
func NewTable(routes ...*Route) *Table {
	t := &Table{byName: make(map[string]*Route, len(routes))}
	for _, r := range routes {
		if _, dup := t.byName[r.Name]; !dup {
			t.routes = append(t.routes, r)
			t.byName[r.Name] = r
		}
	}
	return t
}

// Route finds a route by name; nil when there is none. A nil table has no routes.
func (t *Table) Route(name string) *Route {
	if t == nil {
		return nil
	}
	return t.byName[name]
}

// All yields the routes in file order.
func (t *Table) All() iter.Seq[*Route] {
	if t == nil {
		return slices.Values[[]*Route](nil)
	}
	return slices.Values(t.routes)
}

// Len is the number of routes.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return len(t.routes)
}

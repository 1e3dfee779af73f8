package native

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"headrace/internal/inference"
)

// Form is how a model server wants to be asked.
type Form string

// The forms.
const (
	Inputs      Form = "inputs"      // rows in `inputs`, `predictions` back, as MLflow's gateway asked
	Chat        Form = "chat"        // ChatModel, and transformers models of the task llm/v1/chat
	Agent       Form = "agent"       // ChatAgent
	Completions Form = "completions" // transformers models of the task llm/v1/completions
	Embeddings  Form = "embeddings"  // transformers models of the task llm/v1/embeddings
	Responses   Form = "responses"   // ResponsesAgent behind `mlflow models serve`
	AgentServer Form = "agent_server"
	// Conversations are rows in `inputs`, each an object with messages: a PythonModel with a type hint such as
	// list[Conversation].
	Conversations Form = "conversations"
)

// Fits says whether a route of the type t can ask in the form f.
func (f Form) Fits(t inference.Type) bool {
	switch t {
	case inference.Chat:
		return slices.Contains([]Form{Inputs, Chat, Agent, Completions, Responses, AgentServer, Conversations}, f)
	case inference.Completions:
		return f == Inputs || f == Completions
	case inference.Embeddings:
		return f == Inputs || f == Embeddings
	case inference.Raw:
	}
	return false
}

// Probe is a body that no model of a signature takes: its refusal, which comes before the model runs, shows the
// signature. A model without a signature runs with it.
func Probe() []byte { return []byte(`{"prompt": 0}`) }

// InfoPath is where an AgentServer tells what it is.
const InfoPath = "agent/info"

// Names is the form that a refusal names: the signature that it shows, or the class that it expects. It says no to
// every other reply. status and body are the reply's.
func Names(status int, body []byte) (Form, bool) {
	if status != 400 || !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		return "", false
	}
	var said struct {
		Message string          `json:"message"`
		Trace   string          `json:"stack_trace"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &said) != nil {
		return "", false
	}
	if bytes.Contains(said.Detail, []byte("for ResponsesAgent")) {
		return AgentServer, true
	}
	if strings.HasPrefix(said.Message, unexpected) {
		return "", false // the model has run
	}
	return formOf(said.Message)
}

// formOf reads the signature in the message of a refusal. The caller's own input stands before it, so the last mention
// counts.
func formOf(message string) (Form, bool) {
	signature, one := after(message, "with schema '"), after(message, " with type '")
	switch {
	case strings.Contains(signature, "'input': Array(Any)") && strings.Contains(signature, "'background'"):
		return Responses, true
	case strings.HasPrefix(signature, "['messages': Array(") && strings.Contains(signature, "attachments"):
		return Agent, true
	case strings.HasPrefix(signature, "['messages': Array("):
		return Chat, true
	case strings.HasPrefix(signature, "['prompt': string"):
		return Completions, true
	case strings.HasPrefix(signature, "['input': string (required)]"):
		return Embeddings, true
	case strings.HasPrefix(one, "{attachments: "):
		return Agent, true
	case strings.HasPrefix(one, "{content: string") && strings.Contains(one, "role: string (required)"):
		return Chat, true
	case strings.Contains(after(message, "\nError: "), "Expecting example to be a dictionary or pydantic model"):
		return Conversations, true
	case strings.HasSuffix(message, "Expected list, but got dict"), strings.Contains(after(message, "\nError: "), "Could not find a string column"):
		return Inputs, true
	}
	return "", false
}

// after is what stands in text behind the last mention of mark; "" when there is none.
func after(text, mark string) string {
	at := strings.LastIndex(text, mark)
	if at < 0 {
		return ""
	}
	return text[at+len(mark):]
}

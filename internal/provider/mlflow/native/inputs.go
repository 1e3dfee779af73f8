package native

import (
	"encoding/json"

	"headrace/internal/inference"
	"headrace/internal/openai"
	"headrace/internal/splice"
)

// Unsayable are the members of a chat call that a model of texts cannot give effect to: the names of those that are left
// out, or why the call is refused.
func Unsayable(req *inference.Request) ([]string, error) {
	return openai.Judge(openai.Effects(), splice.FieldsOf(req.Body))
}

// IsAgent tells what AgentServer says at InfoPath.
func IsAgent(status int, body []byte) bool {
	var said struct {
		API string `json:"agent_api"`
		Use string `json:"use_case"`
	}
	return status == 200 && json.Unmarshal(body, &said) == nil && (said.API == "responses" || said.Use == "agent")
}

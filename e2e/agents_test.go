package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// OpenAI's SDK and LangChain work with a ChatModel, a ChatAgent and a ResponsesAgent that `mlflow models serve` serves,
// without a word about their kinds in the configuration.
func TestAgentsAnswerClientsOfOpenAI(t *testing.T) {
	t.Parallel()
	script(t, "../e2e/env.sh", "models", "langchain_classes")
	python := filepath.Join("..", ".cache", "py", "models", "bin", "python")
	script(t, python, "models/agents.py", "../.cache/agents")
	names := []string{"chat_model", "chat_agent", "responses_agent"}
	var routes strings.Builder
	for name, url := range served(t, "../.cache/agents", names...) {
		fmt.Fprintf(&routes, "[[endpoints]]\nname = %q\nendpoint_type = \"llm/v1/chat\"\n[endpoints.model]\nprovider = \"mlflow-model-serving\"\nname = %q\n"+
			"[endpoints.model.config]\nmodel_server_url = %q\n\n", name, name, url)
	}
	up := config{api: freeAddr(t), broker: freeAddr(t), routes: routes.String()}
	path := up.write(t)
	start(t, "agents", "up", "--config", path)
	ready(t, newClient(t), up.api)
	client := filepath.Join("..", ".cache", "py", "langchain_classes", "bin", "python")
	script(t, client, append([]string{"clients/langchain_classes/agents.py", "http://" + up.api}, names...)...)
}

package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"headrace/internal/mlflowtest"
)

// answering gives one prediction for each input.
func answering(prediction string) func(mlflowtest.Request) mlflowtest.Reply {
	return func(r mlflowtest.Request) mlflowtest.Reply {
		var body struct {
			Inputs []json.RawMessage `json:"inputs"`
		}
		if err := json.Unmarshal(r.Body, &body); err != nil {
			return mlflowtest.Failure(http.StatusBadRequest, "BAD_REQUEST", "Invalid input. "+err.Error())
		}
		return mlflowtest.Predictions("[" + strings.TrimSuffix(strings.Repeat(prediction+",", len(body.Inputs)), ",") + "]")
	}
}

// openapi.json is valid, and schemathesis, which makes requests out of it, finds no reply that it does not describe, no right
// request that is refused and no wrong one that is accepted. clients/schemathesis says what it looks for.
func TestSchemathesisFindsNothing(t *testing.T) {
	t.Parallel()
	script(t, "../e2e/env.sh", "schemathesis")
	bin, err := filepath.Abs(filepath.Join("..", ".cache", "py", "schemathesis", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	setup, err := filepath.Abs(filepath.Join("clients", "schemathesis"))
	if err != nil {
		t.Fatal(err)
	}
	vectors, texts, raw := mlflowtest.New(t), mlflowtest.New(t), mlflowtest.New(t)
	vectors.Handle(answering("[0.5, 1.5]"))
	texts.Handle(answering(`"to the turbines"`))
	raw.Reply(mlflowtest.Predictions("[0, 2]"))
	for _, model := range []*mlflowtest.Server{vectors, texts, raw} {
		model.KeepNone()
	}
	tokens := func(route string) string { return strings.Replace(route, "]]\n", "]]\ntokens = true\n", 1) }
	c := newClient(t)
	// Waits are short and limits are wide: what openapi.json cannot say, because it is the configuration's, must not count.
	up := config{
		api: freeAddr(t), broker: freeAddr(t),
		routes: "[jobs]\nmax_wait = \"1s\"\nmax_deadline = \"8760h\"\nmax_result_ttl = \"8760h\"\nmax_attempts = 2147483647\n" +
			"[worker]\ntimeout = \"24h\"\nslots = 8\n" +
			tokens(route("route", "embeddings", "llm/v1/embeddings", vectors.URL)) + tokens(route("route", "completions", "llm/v1/completions", texts.URL)) +
			route("route", "chat", "llm/v1/chat", texts.URL) + route("endpoint", "iris", "mlflow/v1/invocations", raw.URL),
	}
	start(t, "up", "up", "--config", up.write(t))
	ready(t, c, up.api)
	works(t, c, up.api, "embeddings")

	dir := t.TempDir()
	document := filepath.Join(dir, "openapi.json")
	if err := os.WriteFile(document, get(t, c, up.api, "/openapi.json").body, 0o600); err != nil {
		t.Fatal(err)
	}
	script(t, filepath.Join(bin, "openapi-spec-validator"), document)
	const examples = 4 // for each operation
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "st"), "--config-file", filepath.Join(setup, "schemathesis.toml"),
		"run", document, "--url", "http://"+up.api, "--workers", "1", "--max-examples", strconv.Itoa(examples), "--generation-deterministic",
		"--no-shrink", "--no-color", "--warnings", "off")
	cmd.Dir = dir // it keeps what it found beside it, and would try that again
	cmd.Env = append(os.Environ(), "PYTHONPATH="+setup, "PYTHONDONTWRITEBYTECODE=1", "DO_NOT_TRACK=true")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "No issues found") {
		t.Errorf("schemathesis: %v\n%s", err, out)
	}
}

package mlflowyaml_test

import (
	"strings"
	"testing"

	"headrace/internal/config/mlflowyaml"
)

// Wherever a file is broken, neither the error nor a message about what was left out shows a value of it: the lines around
// the place may hold keys of other providers.
func TestBrokenFileShowsNoValue(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	whole := `endpoints:
  - name: chat
    endpoint_type: llm/v1/chat
    model:
      provider: openai
      name: gpt
      config:
        openai_api_key: s3cret-1
        openai_api_base: "https://u:s3cret@host/?key=s3cret"
  - name: emb
    endpoint_type: llm/v1/embeddings
    model:
      provider: mlflow-model-serving
      name: m
      config: {model_server_url: "ftp://u:s3cret@host/?key=s3cret", 'token': 's3cret-2'}
`
	broken := 0
	try := func(text string) {
		got, err := mlflowyaml.Translate([]byte(text), mlflowyaml.Options{})
		if err != nil {
			broken++
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		for _, l := range got.Left {
			if strings.Contains(l.Message, secret) || strings.Contains(l.Key, secret) {
				t.Errorf("%q: %+v", text, l)
			}
		}
	}
	try(whole)
	const signs = "*!\"'{}[]:|>&%@`\t#\\-"
	for i := range whole {
		try(whole[:i])
		try(whole[:i] + signs[:1] + whole[i:])
		try(whole[:i] + signs[1:2] + whole[i:])
		sign := 2 + i%(len(signs)-2)
		try(whole[:i] + signs[sign:sign+1] + whole[i:])
	}
	if broken < 300 {
		t.Errorf("only %d texts were broken", broken)
	}
	_, err := mlflowyaml.Translate([]byte("endpoints:\n  - name: a\n    key: \"s3cret\n"), mlflowyaml.Options{Keys: "k"})
	if err == nil || !strings.HasPrefix(err.Error(), "this is not YAML: line 3, column ") {
		t.Errorf("got %v, want the place", err)
	}
}

package openapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"headrace/api/openapi"
)

// What an operation names has to be there: the document has no dead reference.
func TestUnknownComponentsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := openapi.Make("1", []openapi.Operation{{
		Method: "GET", Path: "/x/{nowhere}", Tag: "x", Summary: "x", Parameters: []string{"no-parameter"}, Body: "NoBody",
		Answers: []openapi.Answer{{Status: "200", What: "x", Media: "application/json", Schema: "NoSchema", Headers: []string{"No-Header"}}},
	}})
	for _, name := range []string{"parameters/nowhere", "parameters/no-parameter", "schemas/NoBody", "schemas/NoSchema", "headers/No-Header"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}

func TestOnlyUsedComponentsAreShown(t *testing.T) {
	t.Parallel()
	text, err := openapi.Make("1", []openapi.Operation{{
		Method: "GET", Path: "/x", Tag: "x", Summary: "x", Answers: []openapi.Answer{{Status: "200", What: "x", Media: "application/json", Schema: "Models"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]bool{`"Models":`: true, `"Model":`: true, `"Job":`: false, `"Job-Id":`: false} {
		if strings.Contains(string(text), part) != want {
			t.Errorf("%s: want it %t in %s", part, want, text)
		}
	}
}

// A failure that two operations have is described once.
func TestFailuresAreShared(t *testing.T) {
	t.Parallel()
	failing := func(path, what string) openapi.Operation {
		return openapi.Operation{Method: "GET", Path: path, Tag: "x", Summary: "x", Answers: []openapi.Answer{
			{Status: "200", What: "It worked."}, {Status: "404", What: what, Media: "application/json", Schema: "Problem"},
		}}
	}
	text, err := openapi.Make("1", []openapi.Operation{failing("/a", "It is away."), failing("/b", "It is away."), failing("/c", "It never was.")})
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]int{
		"It worked.": 3, "It is away.": 1, "It never was.": 1, `"404":{"$ref":"#/components/responses/404-1"}`: 2, `"responses":{"404-1":{`: 1,
	} {
		if got := strings.Count(string(text), part); got != want {
			t.Errorf("%s: %d times, want %d in %s", part, got, want, text)
		}
	}
}

// An example is a request that works: its body is one JSON object, and its name tells it from the others of its operation.
func TestExamplesAreRequests(t *testing.T) {
	t.Parallel()
	for of, examples := range map[string][]openapi.Example{
		"gateway": openapi.GatewayExamples(), "endpoint": openapi.EndpointExamples(), "embeddings": openapi.OpenAIEmbeddingsExamples(),
		"chat": openapi.OpenAIChatExamples(), "completions": openapi.OpenAICompletionsExamples(), "order": openapi.OrderExamples(), "responses": openapi.OpenAIResponsesExamples(),
		"batch": openapi.BatchExamples(), "job": openapi.OfJob(), "queue": openapi.OfQueue(),
	} {
		names := make(map[string]bool)
		for _, e := range examples {
			var body map[string]any
			if err := json.Unmarshal([]byte(e.Body), &body); e.Body != "" && (err != nil || len(body) == 0) || names[e.Name] || e.Body == "" && e.At == "" {
				t.Errorf("%s: %+v: %v", of, e, err)
			}
			names[e.Name] = true
		}
	}
}

func TestThePlaceholderOfAPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/v1/jobs": "", "/v1/jobs/{id}": "id", "/v1/jobs/{id}/cancel": "id", "": "", "/{": ""} {
		if got := openapi.Placeholder(path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// The document is valid JSON with each operation under its path, its parameters and what it may be sent.
func TestOperationsAreDescribed(t *testing.T) {
	t.Parallel()
	text, err := openapi.Make("7", []openapi.Operation{
		{
			Method: "POST", Path: "/v1/jobs/{id}/cancel", Tag: "Jobs", Summary: "Cancel.", Parameters: []string{"wait"}, Body: "JobOrder", Optional: true,
			Examples: []openapi.Example{{Name: "mine", At: "my-id", Body: `{"route":"r"}`}}, Answers: []openapi.Answer{{Status: "202", What: "Done."}},
		},
		{Method: "GET", Path: "/v1/jobs/{id}", Tag: "Jobs", Summary: "Read.", Answers: []openapi.Answer{{Status: "200", What: "It.", Media: "application/json", Schema: "Job", Headers: []string{"ETag"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Info  struct{ Version string }
		Tags  []struct{ Name string }
		Paths map[string]map[string]struct {
			OperationID string
			Parameters  []map[string]any
			RequestBody struct{ Required bool }
			Responses   map[string]map[string]any
		}
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	cancel, read := document.Paths["/v1/jobs/{id}/cancel"]["post"], document.Paths["/v1/jobs/{id}"]["get"]
	if document.Info.Version != "7" || len(document.Tags) != 1 || cancel.OperationID != "post_v1_jobs_id_cancel" || len(cancel.Parameters) != 2 ||
		cancel.RequestBody.Required || cancel.Responses["202"] == nil || read.Responses["200"]["headers"] == nil || len(read.Parameters) != 1 {
		t.Errorf("%s", text)
	}
	if !strings.Contains(string(text), `"mine":{"value":"my-id"}`) || !strings.Contains(string(text), `"mine":{"value":{"route":"r"}}`) {
		t.Errorf("the examples are not shown: %s", text)
	}
}

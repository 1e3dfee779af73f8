package openapi_test

import (
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

package dialect_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headrace/api/dialect"
	"headrace/internal/inference"
)

// TestGoldenBodies holds what each dialect makes of a body, and the reply it writes, against testdata. A file has a case in
// each paragraph: the body, "asks" with the items and parameters of the request, "answers" with the model's items, and the
// reply; or "refuses" with the error. With UPDATE_GOLDEN=1 the files are written instead: read the difference before you commit it.
func TestGoldenBodies(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	all := dialect.New()
	dialects := map[string]dialect.Dialect{"routes": all.Routes, "endpoints": all.Endpoints, "openai": all.OpenAI, "own": all.Own}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			name, kind, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".golden"), "-")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			route := &inference.Route{Name: "r", Type: inference.Type("llm/v1/" + kind), Model: "m", Provider: "p"}
			var cases []string
			for want := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
				lines := strings.Split(want, "\n")
				var items []string
				if len(lines) > 2 {
					items = strings.Split(strings.TrimPrefix(lines[2], "answers "), " | ")
				}
				got := told(t, dialects[name], route, lines[0], items)
				if cases = append(cases, got); got != want && os.Getenv("UPDATE_GOLDEN") == "" {
					t.Errorf("got:\n%s\nwant:\n%s", got, want)
				}
			}
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(file, []byte(strings.Join(cases, "\n\n")+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// told is a case as a file has it.
func told(t *testing.T, speaks dialect.Dialect, route *inference.Route, body string, items []string) string {
	t.Helper()
	text, err := dialect.Parse([]byte(body), "application/json")
	if err != nil {
		return body + "\nrefuses " + err.Error()
	}
	a, err := speaks.Read(route, text)
	if err == nil {
		err = a.Refused
	}
	if err != nil {
		return body + "\nrefuses " + err.Error()
	}
	a.Request.ID = "id"
	asks := strings.TrimSpace("asks " + string(bytes.Join(a.Request.Items, []byte(" | "))) + " " + string(a.Request.Params))
	res := &inference.Result{}
	for _, item := range items {
		res.Items = append(res.Items, []byte(item))
	}
	var out dialect.Output
	var reply bytes.Buffer
	if err := speaks.Answer(&out, a, res); err != nil {
		return body + "\n" + asks + "\nanswers " + strings.Join(items, " | ") + "\nrefuses " + err.Error()
	}
	length := out.Len()
	if n, err := out.WriteTo(&reply); err != nil || int(n) != length {
		t.Errorf("%d bytes were written of %d: %v", n, length, err)
	}
	created := regexp.MustCompile(`"created":\d+`).ReplaceAllString(reply.String(), `"created":0`)
	return body + "\n" + asks + "\nanswers " + strings.Join(items, " | ") + "\n" + created
}

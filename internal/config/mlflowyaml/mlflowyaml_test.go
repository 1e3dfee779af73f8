package mlflowyaml_test

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"headrace/internal/config"
	"headrace/internal/config/mlflowyaml"
)

// recorded is one configuration and what the loader of one MLflow version made of it.
type recorded struct {
	ID     string  `json:"id"`
	Era    string  `json:"era"`
	Loader string  `json:"loader"`
	YAML   *string `json:"yaml"`
	OK     bool    `json:"ok"`
	Loaded []struct {
		Name     string `json:"name"`
		Type     string `json:"type"`
		Provider string `json:"provider"`
	} `json:"loaded"`
}

// stricter are configurations that MLflow loads and that we do not translate completely, each with the reason.
func stricter() map[string]string {
	return map[string]string{
		"name-cjk":                        "names are ASCII, as in MLflow since 3.9",
		"name-accent":                     "names are ASCII, as in MLflow since 3.9",
		"name-cyrillic":                   "names are ASCII, as in MLflow since 3.9",
		"name-arabic-digits":              "names are ASCII, as in MLflow since 3.9",
		"url-empty":                       "MLflow loads it, and then every call fails",
		"url-no-scheme":                   "MLflow loads it, and then every call fails",
		"url-env":                         "MLflow does not resolve it, and then every call fails",
		"url-ftp":                         "MLflow loads it, and then every call fails",
		"limit-compound":                  "one limit for each endpoint",
		"limit-zero":                      "a limit of no calls refuses everything: see the test of limits",
		"traffic-ok":                      "traffic splits are not available yet",
		"traffic-default-strategy":        "traffic splits are not available yet",
		"traffic-same-twice":              "traffic splits are not available yet",
		"traffic-bad-name":                "traffic splits are not available yet",
		"keys-both-roots":                 "both lists are translated; MLflow reads one of them",
		"keys-both-roots-empty-endpoints": "both lists are translated; MLflow reads one of them",
	}
}

// lenient are configurations that a version of MLflow refuses and that we translate.
func lenient() map[string]string {
	return map[string]string{
		"keys-routes-route_type":          "another version's spelling",
		"keys-endpoints-endpoint_type":    "another version's spelling",
		"keys-routes-endpoint_type":       "another version's spelling",
		"keys-endpoints-route_type":       "another version's spelling",
		"keys-both-roots":                 "another version's spelling",
		"keys-both-roots-empty-endpoints": "another version's spelling",
	}
}

func load(t *testing.T) []recorded {
	t.Helper()
	file, err := os.Open("testdata/cases.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var all []recorded
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r recorded
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		if r.YAML != nil {
			all = append(all, r)
		}
	}
	if lines.Err() != nil || len(all) < 390 {
		t.Fatalf("%d cases, %v", len(all), lines.Err())
	}
	return all
}

// Whatever MLflow's loaders accept is translated, and the result is a valid gateway.toml with the same routes;
// whatever they refuse is refused or listed.
func TestRecordedConfigurations(t *testing.T) {
	t.Parallel()
	passed, differ := 0, 0
	for _, r := range load(t) {
		text := []byte(*r.YAML)
		if r.ID == "latin1-file" { // the recording holds it decoded
			text = latin1(*r.YAML)
		}
		got, err := mlflowyaml.Translate(text)
		where := r.ID + " of " + r.Era
		if err != nil {
			if r.OK {
				t.Errorf("%s: MLflow loads it: %v", where, err)
			}
			passed++
			continue
		}
		cfg, err := config.Parse("gateway.toml", []byte(got.TOML))
		if err != nil {
			t.Errorf("%s: the translation is not valid: %v\n%s", where, err, got.TOML)
			continue
		}
		_, strict := stricter()[r.ID]
		_, kind := lenient()[r.ID]
		switch {
		case !r.OK && got.Complete():
			if !kind && !onlyIgnored(r, got) {
				t.Errorf("%s: MLflow refuses it:\n%s\n%v", where, got.TOML, got.Left)
			}
			differ++
			continue
		case !r.OK:
			passed++
			continue
		case strict:
			differ++
			continue
		}
		for _, want := range r.Loaded {
			if want.Provider != config.ProviderMLflow {
				if got.Complete() {
					t.Errorf("%s: the provider %s was not listed", where, want.Provider)
				}
				continue
			}
			route := cfg.Table.Route(want.Name)
			if route == nil || string(route.Type) != want.Type {
				t.Errorf("%s: route %q is %v\n%s\n%v", where, want.Name, route, got.TOML, got.Left)
			}
		}
		passed++
	}
	t.Logf("%d pass, %d differ deliberately", passed, differ)
}

func latin1(text string) []byte {
	var b []byte
	for _, r := range text {
		b = append(b, byte(r))
	}
	return b
}

// onlyIgnored tells limits that MLflow 2.8 ignores and later versions refuse.
func onlyIgnored(r recorded, got *mlflowyaml.Translation) bool {
	for _, l := range got.Left {
		if l.Ignored && strings.Contains(l.Key, "limit") && strings.HasPrefix(r.ID, "limit-") {
			return true
		}
	}
	return false
}

// What is left out is named with its line and the reason.
func TestLeft(t *testing.T) {
	t.Parallel()
	got, err := mlflowyaml.Translate([]byte(`endpoints:
  - name: chat
    endpoint_type: llm/v1/chat
    model:
      provider: openai
      name: gpt-4o
      config:
        openai_api_key: $OPENAI_API_KEY
  - name: emb
    endpoint_type: llm/v1/embeddings
    comment: ours
    limit: {calls: 10, renewal_period: minute}
    model:
      provider: MLflow_Model_Serving
      name: minilm
      config: {model_server_url: "http://127.0.0.1:9020"}
`))
	if err != nil {
		t.Fatal(err)
	}
	if got.Complete() || got.Routes != 1 || len(got.Left) != 2 {
		t.Fatalf("%+v", got)
	}
	if l := got.Left[0]; l.Line != 5 || l.Key != "endpoints[0].model.provider" || !strings.Contains(l.Message, "openai") {
		t.Errorf("%+v", l)
	}
	if l := got.Left[1]; l.Line != 11 || !l.Ignored {
		t.Errorf("%+v", l)
	}
	cfg, err := config.Parse("gateway.toml", []byte(got.TOML))
	if err != nil {
		t.Fatal(err)
	}
	if r := cfg.Table.Route("emb"); r == nil || r.Limit == nil || r.Limit.Calls != 10 || r.Model != "minilm" {
		t.Errorf("%+v", r)
	}
}

func FuzzTranslate(f *testing.F) {
	for _, seed := range []string{"routes: []", "endpoints:\n- name: a\n  endpoint_type: llm/v1/chat\n", "a: &a [*a]", "x: !!python/object:os.system y", "<<: {a: 1}", "- {", "\t"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 300 { // the library takes quadratic time for some texts, and a configuration is ours to read once
			return
		}
		got, err := mlflowyaml.Translate([]byte(text))
		if err != nil {
			return
		}
		if _, err := config.Parse("gateway.toml", []byte(got.TOML)); err != nil {
			t.Errorf("%q becomes\n%s\n%v", text, got.TOML, err)
		}
	})
}

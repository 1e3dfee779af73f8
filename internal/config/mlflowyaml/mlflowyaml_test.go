package mlflowyaml_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"headrace/internal/config"
	"headrace/internal/config/mlflowyaml"
	"headrace/internal/inference"
)

// recorded is one configuration and what the loader of one MLflow version made of it.
type recorded struct {
	ID     string   `json:"id"`
	Era    string   `json:"era"`
	Loader string   `json:"loader"`
	YAML   *string  `json:"yaml"`
	OK     bool     `json:"ok"`
	Loaded []loaded `json:"loaded"`
	Splits []struct {
		Name         string `json:"name"`
		Type         string `json:"task_type"`
		Destinations []struct {
			Name    string `json:"name"`
			Percent int    `json:"traffic_percentage"`
		} `json:"destinations"`
	} `json:"loaded_routes"`
}

// splitsDiffer says where the traffic routes are not those that MLflow loaded; "" when they are.
func (r recorded) splitsDiffer(table *inference.Table) string {
	for _, want := range r.Splits {
		split := table.Split(want.Name)
		if split == nil || string(split.Type) != want.Type || len(split.Destinations) != len(want.Destinations) {
			return fmt.Sprintf("the traffic route %s is %+v", want.Name, split)
		}
		for i, d := range want.Destinations {
			if split.Destinations[i].Route != d.Name || split.Destinations[i].Percent != d.Percent {
				return fmt.Sprintf("destination %d of %s is %+v", i, want.Name, split.Destinations[i])
			}
		}
	}
	return ""
}

// loaded is one entry as MLflow keeps it.
type loaded struct {
	Name     string  `json:"name"`
	Type     string  `json:"type"`
	Model    *string `json:"model_name"`
	Provider string  `json:"provider"`
	Config   struct {
		Server string `json:"model_server_url"`
	} `json:"config"`
	Limit *struct {
		Calls  int     `json:"calls"`
		Key    *string `json:"key"`
		Period string  `json:"renewal_period"`
	} `json:"limit"`
}

// differs says where a route is not what MLflow loaded; "" when it is the same.
func (l loaded) differs(route *inference.Route) string {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	switch {
	case route == nil:
		return "it is not there"
	case string(route.Type) != l.Type:
		return "its type is " + string(route.Type)
	case route.Model != text(l.Model):
		return "its model is " + route.Model
	case len(route.Servers) != 1 || route.Servers[0] != strings.TrimSpace(l.Config.Server) && route.Headers == nil:
		return fmt.Sprintf("its servers are %q", route.Servers)
	case (route.Limit == nil) != (l.Limit == nil):
		return fmt.Sprintf("its limit is %+v", route.Limit)
	case l.Limit != nil && (route.Limit.Calls != l.Limit.Calls || route.Limit.Period != l.Limit.Period || route.Limit.Key != text(l.Limit.Key)):
		return fmt.Sprintf("its limit is %+v", *route.Limit)
	}
	return ""
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
		"traffic-bad-name":                "names are checked, as of endpoints",
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
		"openai-env-unset":                "a variable need not be set where the file is translated",
	}
}

func load(t *testing.T) []recorded {
	t.Helper()
	all := slices.DeleteFunc(recordings[recorded](t, "testdata/cases.jsonl"), func(r recorded) bool { return r.YAML == nil })
	if len(all) < 390 {
		t.Fatalf("%d cases", len(all))
	}
	return all
}

// recordings reads the lines of a file.
func recordings[T any](t *testing.T, path string) (all []T) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one T
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
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
		got, err := mlflowyaml.Translate(text, mlflowyaml.Options{})
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
				if got.Complete() && !slices.Contains(config.Providers(), want.Provider) {
					t.Errorf("%s: the provider %s was not listed", where, want.Provider)
				}
				continue
			}
			if why := r.splitsDiffer(cfg.Table); why != "" {
				t.Errorf("%s: %s", where, why)
			}
			if why := want.differs(cfg.Table.Route(want.Name)); why != "" {
				t.Errorf("%s: route %q: %s\n%s\n%v", where, want.Name, why, got.TOML, got.Left)
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
      provider: cohere
      name: gpt-4o
      config:
        openai_api_key: $OPENAI_API_KEY
  - name: emb
    endpoint_type: llm/v1/embeddings
    comment: ours
    limit: {calls: 10, renewal_period: minute, key: user}
    model:
      provider: MLflow_Model_Serving
      name: minilm
      config: {model_server_url: "http://127.0.0.1:9020/m?key=1#part"}
`), mlflowyaml.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Complete() || got.Routes != 1 || len(got.Left) != 2 {
		t.Fatalf("%+v", got)
	}
	if l := got.Left[0]; l.Line != 5 || l.Key != "endpoints[0].model.provider" || !strings.Contains(l.Message, "cohere") {
		t.Errorf("%+v", l)
	}
	if l := got.Left[1]; l.Line != 11 || !l.Ignored {
		t.Errorf("%+v", l)
	}
	cfg, err := config.Parse("gateway.toml", []byte(got.TOML))
	if err != nil {
		t.Fatal(err)
	}
	if r := cfg.Table.Route("emb"); r == nil || r.Limit == nil || r.Limit.Calls != 10 || r.Limit.Key != "user" || r.Model != "minilm" ||
		r.Servers[0] != "http://127.0.0.1:9020/m?key=1" {
		t.Errorf("%+v", r)
	}
}

// One entry with one spelling in it, and what is left out because of it; "" = nothing, and the limit is as given.
func TestSpellings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, server, calls string
		limit               int
		left                string
	}{
		{"a", "http://h:1", "5", 5, ""},
		{"!!str 5", "http://h:1", `!!int "5"`, 5, ""},
		{"a", "!!str http://h:1", "5.0", 5, ""},
		{`"12:30"`, "http://h:1", "1_0", 10, "endpoints[0].name"}, // a colon is no character of a name
		{`"2024-01-01"`, "http://h:1", `" 7 "`, 7, ""},
		{"2024-01-01", "http://h:1", "5", 0, "endpoints[0].name: it is a date"},
		{"12:30", "http://h:1", "5", 0, "endpoints[0].name: it is a number"},
		{"off", "http://h:1", "5", 0, "endpoints[0].name: it is true or false"},
		{"a", "http://h:1", "yes", 1, ""},
		{"a", "http://h:1", "false", 0, ""},
		{"a", "http://h:1", "5.5", 0, "endpoints[0].limit: calls"},
		{"a", "http://h:1", "99999999999", 0, "endpoints[0].limit: calls"},
		{"a", "http://h:1", "[5]", 0, "endpoints[0].limit: calls"},
		{"a", "http://h:99999", "5", 0, "endpoints[0].model.config.model_server_url"},
		{"a", "http://h:0/x?y=1", "5", 0, "endpoints[0].model.config.model_server_url"},
	} {
		got, err := mlflowyaml.Translate(fmt.Appendf(nil, "endpoints:\n- name: %s\n  endpoint_type: llm/v1/chat\n  model:\n    provider: mlflow-model-serving\n"+
			"    config:\n      model_server_url: %s\n  limit: {calls: %s, renewal_period: day}\n", c.name, c.server, c.calls), mlflowyaml.Options{})
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		cfg, err := config.Parse("gateway.toml", []byte(got.TOML))
		if err != nil {
			t.Errorf("%+v: %v\n%s", c, err, got.TOML)
			continue
		}
		if c.left != "" {
			if len(got.Left) != 1 || got.Left[0].Line == 0 || !strings.Contains(got.Left[0].String(), c.left) {
				t.Errorf("%+v: left %v", c, got.Left)
			}
			continue
		}
		for route := range cfg.Table.All() {
			if len(got.Left) > 0 || route.Limit == nil || route.Limit.Calls != c.limit {
				t.Errorf("%+v: left %v, limit %+v", c, got.Left, route.Limit)
			}
		}
		if cfg.Table.Len() != 1 {
			t.Errorf("%+v: %d routes", c, cfg.Table.Len())
		}
	}
	for _, text := range []string{"endpoints: !!seq {a: 1}", "endpoints: !!int [1]", "endpoints: !!map 5", "endpoints: !!binary aGk="} {
		if got, err := mlflowyaml.Translate([]byte(text), mlflowyaml.Options{}); err == nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

// Forms of YAML that MLflow's reader takes: a directive above the document, keys behind a question mark.
func TestForms(t *testing.T) {
	t.Parallel()
	const entry = "- name: a\n  endpoint_type: llm/v1/chat\n  model: {provider: mlflow-model-serving, name: m, config: {model_server_url: \"http://h:1\"}}\n"
	for name, text := range map[string]string{
		"plain": "endpoints:\n" + entry, "directive": "%YAML 1.1\n---\nendpoints:\n" + entry,
		"end": "---\nendpoints:\n" + entry + "...\n", "explicit key": "? endpoints\n: " + strings.ReplaceAll(entry, "\n", "\n  ") + "\n",
		"quoted explicit key": "endpoints:\n" + strings.Replace(entry, "endpoint_type: ", "? \"endpoint_type\"\n  : ", 1),
	} {
		got, err := mlflowyaml.Translate([]byte(text), mlflowyaml.Options{})
		if err != nil || got.Routes != 1 || len(got.Left) > 0 {
			t.Errorf("%s: %+v, %v\n%s", name, got, err, text)
		}
	}
	if got, err := mlflowyaml.Translate([]byte("%YAML 1.1\n---\n"), mlflowyaml.Options{}); err == nil {
		t.Errorf("a directive alone: %+v", got)
	}
}

// A traffic route may stand above its endpoints; what is wrong with it leaves it out, and nothing else.
func TestSplits(t *testing.T) {
	t.Parallel()
	const good = `name: ab, task_type: llm/v1/chat, destinations: [{name: a, traffic_percentage: 30}, {name: b, traffic_percentage: 70}]`
	for _, c := range []struct{ from, to, left string }{
		{"", "", ""},
		{"}]", "}], routing_strategy: TRAFFIC_SPLIT", ""},
		{"}]", "}], routing_strategy: RANDOM", "routing_strategy"},
		{"name: ab", "name: a", "another entry"},
		{"name: ab", "nam: ab", "needs a name"},
		{"llm/v1/chat", "llm/v1/songs", "task_type"},
		{"llm/v1/chat", "llm/v1/embeddings", `"a" is llm/v1/chat`},
		{"name: b", "name: c", `no endpoint "c"`},
		{"name: b", "name: old", `no endpoint "old"`},
		{"70", "69", "99"},
		{"70", "70.5", "destinations[1].traffic_percentage"},
		{"70", `"70"`, "destinations[1].traffic_percentage"},
		{"70", "-70", "destinations[1].traffic_percentage"},
		{"destinations: [{name: a, traffic_percentage: 30}, {name: b, traffic_percentage: 70}]", "destinations: 5", "destinations"},
	} {
		endpoint := func(name, list string) string {
			return "{name: " + name + ", " + list + "_type: llm/v1/chat, model: {provider: mlflow-model-serving, config: {model_server_url: \"http://h:1\"}}}"
		}
		text := "routes:\n- {" + strings.Replace(good, c.from, c.to, 1) + "}\n- " + endpoint("old", "route") +
			"\nendpoints:\n- " + endpoint("a", "endpoint") + "\n- " + endpoint("b", "endpoint") + "\n"
		got, err := mlflowyaml.Translate([]byte(text), mlflowyaml.Options{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		cfg, err := config.Parse("gateway.toml", []byte(got.TOML))
		if err != nil || cfg.Table.Len() != 3 {
			t.Errorf("%s: %v\n%s", text, err, got.TOML)
			continue
		}
		split := cfg.Table.Split("ab")
		switch {
		case c.left == "" && (split == nil || len(got.Left) > 0 || split.Destinations[1].Percent != 70):
			t.Errorf("%s: %+v, left %v", text, split, got.Left)
		case c.left != "" && (split != nil || len(got.Left) != 1 || got.Left[0].Line != 2 || !strings.Contains(got.Left[0].String(), c.left)):
			t.Errorf("%s: %+v, left %v, want %s", text, split, got.Left, c.left)
		}
	}
}

func FuzzTranslate(f *testing.F) {
	for _, seed := range []string{"routes: []", "endpoints:\n- name: a\n  endpoint_type: llm/v1/chat\n", "routes:\n- {name: a, task_type: llm/v1/chat, destinations: [{name: b, traffic_percentage: 100}]}\n", "a: &a [*a]", "x: !!python/object:os.system y", "<<: {a: 1}", "- {", "\t"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 300 { // the library takes quadratic time for some texts, and a configuration is ours to read once
			return
		}
		got, err := mlflowyaml.Translate([]byte(text), mlflowyaml.Options{})
		if err != nil {
			return
		}
		if _, err := config.Parse("gateway.toml", []byte(got.TOML)); err != nil {
			t.Errorf("%q becomes\n%s\n%v", text, got.TOML, err)
		}
	})
}

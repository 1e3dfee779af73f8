package config_test

import (
	"errors"
	"strings"
	"testing"

	"headrace/internal/config"
)

const splitEndpoints = `[[routes]]
name = "old"
route_type = "llm/v1/chat"
model = {provider = "mlflow-model-serving", config = {model_server_url = "http://h:1"}}
[[endpoints]]
name = "a"
endpoint_type = "llm/v1/chat"
model = {provider = "mlflow-model-serving", config = {model_server_url = "http://h:1"}}
[[endpoints]]
name = "b"
endpoint_type = "llm/v1/chat"
model = {provider = "mlflow-model-serving", config = {model_server_url = "http://h:2"}}
[[endpoints]]
name = "emb"
endpoint_type = "llm/v1/embeddings"
model = {provider = "mlflow-model-serving", config = {model_server_url = "http://h:2"}}
`

func TestSplits(t *testing.T) {
	t.Parallel()
	const inline = "[[splits]]\nname = \"ab\"\ntask_type = \"llm/v1/chat\"\ndestinations = [\n  {name = \"a\", traffic_percentage = 90},\n  {name = \"b\", traffic_percentage = 10},\n]\n"
	const tables = "[[splits]]\nname = \"ab\"\ntask_type = \"llm/v1/chat\"\nrouting_strategy = \"TRAFFIC_SPLIT\"\n" +
		"[[splits.destinations]]\nname = \"a\"\ntraffic_percentage = 90\n[[splits.destinations]]\nname = \"b\"\ntraffic_percentage = 10\n"
	for _, text := range []string{inline, tables} {
		cfg, err := config.Parse("gateway.toml", []byte(splitEndpoints+text))
		if err != nil {
			t.Fatal(err)
		}
		split := cfg.Table.Split("ab")
		if split == nil || cfg.Table.Len() != 4 || cfg.Table.Route("ab") != nil || split.Pick(89) != "a" || split.Pick(90) != "b" || split.Pick(100) != "" {
			t.Errorf("%+v", split)
		}
	}
	for _, c := range []struct{ from, to, key, says string }{
		{`name = "ab"`, `name = "a"`, "splits[0].name", "already the name of endpoints[0]"},
		{`name = "ab"`, ``, "splits[0].name", "required"},
		{"llm/v1/chat", "mlflow/v1/invocations", "splits[0].task_type", "not a type that can be split"},
		{"llm/v1/chat", "llm/v1/embeddings", "splits[0].destinations[0].name", "not llm/v1/embeddings"},
		{`name = "b"`, `name = "c"`, "splits[0].destinations[1].name", `no endpoint "c"`},
		{`name = "b"`, `name = "old"`, "splits[0].destinations[1].name", `no endpoint "old"`},
		{`name = "b"`, `nam = "b"`, "splits[0].destinations[1].nam", "unknown key"},
		{"= 10", "= 9", "splits[0].destinations", "add up to 99"},
		{"= 10", "= -10", "splits[0].destinations[1].traffic_percentage", "between 0 and"},
		{"traffic_percentage = 10", "", "splits[0].destinations[1].traffic_percentage", "share is required"},
		{"TRAFFIC_SPLIT", "RANDOM", "splits[0].routing_strategy", "TRAFFIC_SPLIT"},
		{"[[splits]]", "[[splits]]\nweight = 1", "splits[0].weight", "unknown key"},
		{tables[strings.Index(tables, "[[splits.d"):], "", "splits[0].destinations", "at least one"},
	} {
		_, err := config.Parse("gateway.toml", []byte(splitEndpoints+strings.Replace(tables, c.from, c.to, 1)))
		invalid, ok := errors.AsType[*config.InvalidError](err)
		if !ok {
			t.Errorf("%s: %v", c.to, err)
			continue
		}
		found := false
		for _, p := range invalid.Problems {
			found = found || p.Key == c.key && strings.Contains(p.Message, c.says) && p.Line > 16
		}
		if !found {
			t.Errorf("%s instead of %s: %v, want %s", c.to, c.from, err, c.key)
		}
	}
}

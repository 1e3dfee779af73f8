package config

import (
	"slices"

	"headrace/internal/inference"
)

// KnownKeys is every key that a configuration may have, found by reading one of each kind of table.
func KnownKeys() []string {
	doc := &document{lines: map[string]int{}}
	c := &Config{}
	var known []string
	api, broker, worker := &table{doc: doc}, &table{doc: doc}, &table{doc: doc}
	readAPI(api)
	readBroker(broker)
	readWorker(worker)
	route := &table{doc: doc, values: map[string]any{
		"model": map[string]any{"config": map[string]any{"headers": map[string]any{}}},
		"limit": map[string]any{}, "output": map[string]any{},
	}}
	readRoute(route, "routes", c)
	openAI, anthropic := &table{doc: doc}, &table{doc: doc}
	readOpenAI(&table{doc: doc}, openAI, &inference.Route{})
	readAnthropic(&table{doc: doc}, anthropic, &inference.Route{})
	split, destination := &table{doc: doc}, &table{doc: doc}
	readSplit(split, nil)
	readDestination(destination, &inference.Split{}, nil)
	for _, t := range []*table{api, broker, worker, route, openAI, anthropic, split, destination} {
		known = append(known, t.known...)
	}
	known = append(known, "endpoint_type", "provider", "model_server_url", "headers", "calls", "renewal_period", "field")
	slices.Sort(known)
	return slices.Compact(known)
}

package api

import "headrace/api/openapi"

// This file holds the examples of openapi.json: requests that work on a server whose routes have the names of their types,
// are declared under routes, and of which iris is raw.

func gatewayExamples() []openapi.Example {
	return []openapi.Example{
		{Name: "embeddings", At: "embeddings", Body: `{"text": ["A headrace leads water to the turbines."]}`},
		{Name: "completions", At: "completions", Body: `{"prompt": "A headrace leads water to the [MASK].", "temperature": 0.2}`},
		{Name: "chat", At: "chat", Body: `{"messages": [{"role": "user", "content": "Where does a headrace lead?"}]}`},
		{Name: "raw", At: "iris", Body: rawExample},
	}
}

func endpointExamples() []openapi.Example {
	return []openapi.Example{
		{Name: "embeddings", At: "embeddings", Body: `{"input": ["A headrace leads water to the turbines."]}`},
		{Name: "completions", At: "completions", Body: `{"prompt": "A headrace leads water to the [MASK].", "max_tokens": 16}`},
		{Name: "chat", At: "chat", Body: `{"messages": [{"role": "user", "content": "Where does a headrace lead?"}]}`},
		{Name: "raw", At: "iris", Body: rawExample},
	}
}

const rawExample = `{"dataframe_split": {"columns": ["length", "width"], "data": [[5.1, 3.5]]}}`

func openAIEmbeddingsExamples() []openapi.Example {
	return []openapi.Example{
		{Name: "texts", Body: `{"model": "embeddings", "input": ["A headrace leads water to the turbines.", "A tailrace leads it away."]}`},
		{Name: "base64", Body: `{"model": "embeddings", "input": "A headrace leads water to the turbines.", "encoding_format": "base64"}`},
	}
}

func openAIChatExamples() []openapi.Example {
	return []openapi.Example{
		{Name: "question", Body: `{"model": "chat", "messages": [{"role": "user", "content": "Where does a headrace lead?"}]}`},
		{Name: "conversation", Body: `{"model": "chat", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where does a headrace lead?"}]}`},
	}
}

func openAIResponsesExamples() []openapi.Example {
	return []openapi.Example{
		{Name: "text", Body: `{"model": "chat", "input": "Where does a headrace lead?", "instructions": "Be brief."}`},
		{Name: "items", Body: `{"model": "chat", "input": [{"role": "user", "content": "Where does a headrace lead?"}], "max_output_tokens": 64}`},
	}
}

func openAICompletionsExamples() []openapi.Example {
	return []openapi.Example{
		{Name: "prompt", Body: `{"model": "completions", "prompt": "A headrace leads water to the [MASK]."}`},
		{Name: "prompts", Body: `{"model": "completions", "prompt": ["Water under the [MASK].", "A [MASK] race."], "max_tokens": 16}`},
	}
}

// jobID is the id of the examples' job.
const jobID = "my-own-id"

func orderExamples() []openapi.Example {
	return []openapi.Example{
		{Name: "plain", At: jobID, Body: `{"route": "embeddings", "input": {"input": ["one", "two"]}}`},
		{Name: "options", At: jobID + "-2", Body: `{"route": "embeddings", "input": {"input": ["one", "two"]}, "priority": "batch", "timeouts": {"total": "6h"}, ` +
			`"retry": {"max_attempts": 3}, "result_ttl": "24h", "metadata": {"order": "4711"}, "tags": ["nightly"]}`},
	}
}

func batchExamples() []openapi.Example {
	return []openapi.Example{{
		Name: "two",
		Body: `{"jobs": [{"route": "embeddings", "input": {"input": "four"}, "id": "invoice-4"}, {"route": "embeddings", "input": {"input": "five"}, "id": "invoice-5"}]}`,
	}}
}

// ofJob is a request about the examples' job.
func ofJob() []openapi.Example { return []openapi.Example{{Name: "mine", At: jobID}} }

// ofQueue is a request about a queue.
func ofQueue() []openapi.Example { return []openapi.Example{{Name: "embeddings", At: "embeddings"}} }

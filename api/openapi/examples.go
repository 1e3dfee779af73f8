package openapi

// This file holds the examples of openapi.json: requests that work on a server whose routes have the names of their types,
// are declared under routes, and of which iris is raw.

// GatewayExamples shows calls on MLflow's older paths.
func GatewayExamples() []Example {
	return []Example{
		{Name: "embeddings", At: "embeddings", Body: `{"text": ["A headrace leads water to the turbines."]}`},
		{Name: "completions", At: "completions", Body: `{"prompt": "A headrace leads water to the [MASK].", "temperature": 0.2}`},
		{Name: "chat", At: "chat", Body: `{"messages": [{"role": "user", "content": "Where does a headrace lead?"}]}`},
		{Name: "raw", At: "iris", Body: rawExample},
	}
}

// EndpointExamples shows calls on MLflow's newer paths, and on ours.
func EndpointExamples() []Example {
	return []Example{
		{Name: "embeddings", At: "embeddings", Body: `{"input": ["A headrace leads water to the turbines."]}`},
		{Name: "completions", At: "completions", Body: `{"prompt": "A headrace leads water to the [MASK].", "max_tokens": 16}`},
		{Name: "chat", At: "chat", Body: `{"messages": [{"role": "user", "content": "Where does a headrace lead?"}]}`},
		{Name: "raw", At: "iris", Body: rawExample},
	}
}

const rawExample = `{"dataframe_split": {"columns": ["length", "width"], "data": [[5.1, 3.5]]}}`

// OpenAIEmbeddingsExamples shows texts and an encoding.
func OpenAIEmbeddingsExamples() []Example {
	return []Example{
		{Name: "texts", Body: `{"model": "embeddings", "input": ["A headrace leads water to the turbines.", "A tailrace leads it away."]}`},
		{Name: "base64", Body: `{"model": "embeddings", "input": "A headrace leads water to the turbines.", "encoding_format": "base64"}`},
	}
}

// OpenAIChatExamples shows a question and a conversation.
func OpenAIChatExamples() []Example {
	return []Example{
		{Name: "question", Body: `{"model": "chat", "messages": [{"role": "user", "content": "Where does a headrace lead?"}]}`},
		{Name: "conversation", Body: `{"model": "chat", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where does a headrace lead?"}]}`},
	}
}

// OpenAIResponsesExamples shows a text and a list of items.
func OpenAIResponsesExamples() []Example {
	return []Example{
		{Name: "text", Body: `{"model": "chat", "input": "Where does a headrace lead?", "instructions": "Be brief."}`},
		{Name: "items", Body: `{"model": "chat", "input": [{"role": "user", "content": "Where does a headrace lead?"}], "max_output_tokens": 64}`},
	}
}

// OpenAICompletionsExamples shows one prompt and several.
func OpenAICompletionsExamples() []Example {
	return []Example{
		{Name: "prompt", Body: `{"model": "completions", "prompt": "A headrace leads water to the [MASK]."}`},
		{Name: "prompts", Body: `{"model": "completions", "prompt": ["Water under the [MASK].", "A [MASK] race."], "max_tokens": 16}`},
	}
}

// jobID is the id of the examples' job.
const jobID = "my-own-id"

// OrderExamples shows a job, and one with options.
func OrderExamples() []Example {
	return []Example{
		{Name: "plain", At: jobID, Body: `{"route": "embeddings", "input": {"input": ["one", "two"]}}`},
		{Name: "options", At: jobID + "-2", Body: `{"route": "embeddings", "input": {"input": ["one", "two"]}, "priority": "batch", "timeouts": {"total": "6h"}, ` +
			`"retry": {"max_attempts": 3}, "result_ttl": "24h", "metadata": {"order": "4711"}, "tags": ["nightly"]}`},
	}
}

// BatchExamples shows two jobs in one request.
func BatchExamples() []Example {
	return []Example{{
		Name: "two",
		Body: `{"jobs": [{"route": "embeddings", "input": {"input": "four"}, "id": "invoice-4"}, {"route": "embeddings", "input": {"input": "five"}, "id": "invoice-5"}]}`,
	}}
}

// OfJob is a request about the examples' job.
func OfJob() []Example { return []Example{{Name: "mine", At: jobID}} }

// OfQueue is a request about a queue.
func OfQueue() []Example { return []Example{{Name: "embeddings", At: "embeddings"}} }

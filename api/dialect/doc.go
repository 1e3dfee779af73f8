// Package dialect has the forms of request and reply bodies: MLflow's two, OpenAI's and our own. Bytes go in and bytes come
// out. It holds no state of a server, writes no headers and knows neither statuses nor handlers.
//
//	body.go          a request body as JSON, and errors about it
//	dialect.go       what a dialect is
//	mlflow.go        MLflow's dialects; fields.go has the rules for their members
//	openai.go        OpenAI's dialect; effects.go and conversation.go are what it has beside MLflow's
//	native.go        chat calls of models that take conversations
//	responses.go     OpenAI's responses; responsestream.go and stream.go write streams
//	own.go           our own dialect
//	form.go          what is stored of a job's call, so that its result can be written later
//	lists.go         MLflow's lists of routes; pages.go reads the tokens of their pages
//	output.go        a reply's body while it is written
//
// Bodies are never decoded into Go values: package schema checks raw JSON by rules, the raw bytes of items go on, and
// results are spliced into replies. So numbers and strings keep the bytes they were written with.
package dialect

// Package native has the forms in which today's MLflow models want to be asked, and converts OpenAI's form to them and
// their answers back. It is pure: bytes in, bytes out. Values are moved as the bytes they were written with.
//
//	form.go       the forms, and which of them a model server's refusal names
//	object.go     objects while they are read and written
//	chat.go       a chat call in the form of ChatModel, llm/v1/chat and ChatAgent
//	message.go    messages, of OpenAI's chat and of its responses
//	tools.go      definitions and calls of tools
//	responses.go  a call in the form of ResponsesAgent and AgentServer
//	texts.go      llm/v1/completions and llm/v1/embeddings, both ways
//	answer.go     reads what a model answered
//	write.go      writes it as the caller's form has it
//	inputs.go     what `inputs` cannot say
//	refusal.go    says what a model server's 400 means
package native

// Package pieces reads the streams of model servers: the chunks of OpenAI's chats and completions, and the events of its
// responses, which MLflow's AgentServer sends as well. It is pure: text in, neutral events out.
//
// A caller whose form is the model server's own gets events as they came, and the dialect completes them; for others they are
// taken apart into texts, calls of tools, and why the answer ended.
package pieces

package dialect

import (
	"headrace/api/dialect/pieces"
	"headrace/internal/inference"
	"headrace/internal/splice"
)

var _ PieceStreamer = (*endpointsDialect)(nil)

// Broken writes an error object, which ends the stream without "[DONE]".
func (*endpointsDialect) Broken(out *Output, _ *Asked, body []byte) { out.event("", body) }

// Stream writes an answer in the chunks of MLflow 3.
func (*endpointsDialect) Stream(out *Output, a *Asked, res *inference.Result) error {
	events, _, err := (&openAIDialect{}).events(a, res)
	if err != nil {
		return err
	}
	all, err := answerRaw(a, res)
	if err != nil {
		return err
	}
	w := mlflowChunks(a, all)
	for i := range events {
		out.buf = w.Piece(out.buf, &events[i])
	}
	out.buf, err = w.End(out.buf)
	return err
}

// Pieces writes MLflow 3's chunks as their pieces come.
func (*endpointsDialect) Pieces(a *Asked) PieceWriter { return written{mlflowChunks(a, nil)} }

// mlflowChunks writes chunks that begin with what the model has told of its answer.
func mlflowChunks(a *Asked, told []splice.Member) *pieces.MLflow {
	var top Output
	kind := "chat.completion.chunk"
	if a.Request.Type == inference.Completions {
		kind = "text_completion_chunk"
	}
	heading(&top, a, told, kind)
	return pieces.NewMLflow(top.buf, a.Route.Provider, a.Request.Type == inference.Chat, a.usage)
}

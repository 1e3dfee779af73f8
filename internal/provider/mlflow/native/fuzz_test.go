package native_test

import (
	"encoding/json"
	"testing"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider/mlflow/native"
)

func checkForms(t *testing.T, asked, answered []byte) {
	t.Helper()
	if !json.Valid(asked) {
		asked = []byte(`{"messages":[]}`)
	}
	native.Names(400, answered)
	native.Means(answered)
	for _, form := range []native.Form{native.Chat, native.Agent, native.Responses, native.AgentServer, native.Conversations} {
		req := &inference.Request{Type: inference.Chat, Body: asked}
		ask, err := native.Encode(form, req)
		if err == nil && !json.Valid(ask.Body) {
			t.Errorf("%s: %q is written %q", form, asked, ask.Body)
		}
		if err != nil && fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: %q: %v", form, asked, err)
		}
		res, err := native.Decode(form, req, answered)
		if err == nil && (!json.Valid(res.Body) || len(res.Items) > 0) {
			t.Errorf("%s: %q is read %q", form, answered, res.Body)
		}
		if err != nil && fault.CodeOf(err) != fault.UpstreamBadResponse {
			t.Errorf("%s: %q: %v", form, answered, err)
		}
	}
	for kind, form := range map[inference.Type]native.Form{inference.Completions: native.Completions, inference.Embeddings: native.Embeddings} {
		res, err := native.Decode(form, &inference.Request{Type: kind, Items: [][]byte{[]byte(`"x"`)}}, answered)
		if err == nil && !json.Valid(res.Body) {
			t.Errorf("%s: %q tells %q", form, answered, res.Body)
		}
	}
}

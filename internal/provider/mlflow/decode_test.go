package mlflow_test

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow"
)

const (
	servingText = "ServingTextResponse\npredictions"
	embeddings  = "EmbeddingsResponse\npredictions"
)

func raws(items ...string) [][]byte {
	out := make([][]byte, 0, len(items))
	for _, item := range items {
		out = append(out, []byte(item))
	}
	return out
}

func answer(body string) provider.Reply {
	return provider.Reply{Status: http.StatusOK, Reason: "OK", ContentType: "application/json", Body: []byte(body)}
}

func decode(route *inference.Route, req *inference.Request, reply provider.Reply) (*inference.Result, error) {
	return mlflow.New().Decode(route, req, reply)
}

func TestEncode(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		req  inference.Request
		want string
	}{
		"completions": {
			inference.Request{Type: inference.Completions, Items: raws(`"Is this a test?"`), Params: []byte(`{"temperature":0.0,"candidate_count":1}`)},
			`{"inputs":["Is this a test?"],"params":{"temperature":0.0,"candidate_count":1}}`,
		},
		"several prompts": {
			inference.Request{Type: inference.Completions, Items: raws(`"a"`, `"b"`), Params: []byte(`{"n": 1}`)},
			`{"inputs":["a","b"],"params":{"n": 1}}`,
		},
		"chat without parameters":       {inference.Request{Type: inference.Chat, Items: raws(`"\ud83d"`)}, `{"inputs":["\ud83d"]}`},
		"embeddings":                    {inference.Request{Type: inference.Embeddings, Items: raws(`"test1"`, `"test2"`)}, `{"inputs":["test1","test2"]}`},
		"embeddings, empty parameters":  {inference.Request{Type: inference.Embeddings, Items: raws(`[1, 2]`), Params: []byte(` { } `)}, `{"inputs":[[1, 2]]}`},
		"embeddings, null parameters":   {inference.Request{Type: inference.Embeddings, Items: raws(`7`), Params: []byte(`null`)}, `{"inputs":[7]}`},
		"embeddings without any text":   {inference.Request{Type: inference.Embeddings}, `{"inputs":[]}`},
		"raw, as it came":               {inference.Request{Type: inference.Raw, Body: []byte(` {"dataframe_split": {"data":[[1.50]]}} `)}, ` {"dataframe_split": {"data":[[1.50]]}} `},
		"numbers keep their spelling":   {inference.Request{Type: inference.Embeddings, Items: raws(`[1.0,1e-07]`), Params: []byte(`{"x":1E5}`)}, `{"inputs":[[1.0,1e-07]],"params":{"x":1E5}}`},
		"embeddings with one parameter": {inference.Request{Type: inference.Embeddings, Items: raws(`"a"`), Params: []byte(`{"k":null}`)}, `{"inputs":["a"],"params":{"k":null}}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			call, err := mlflow.New().Encode(&inference.Route{}, &tt.req)
			if err != nil {
				t.Fatal(err)
			}
			if call.Path != "invocations" || call.ContentType != "application/json" || string(call.Body) != tt.want {
				t.Errorf("got %s %s %s, want %s", call.Path, call.ContentType, call.Body, tt.want)
			}
		})
	}
	if _, err := mlflow.New().Encode(&inference.Route{}, &inference.Request{Type: "llm/v1/songs"}); fault.CodeOf(err) != fault.Invalid {
		t.Errorf("an unknown type: %v", err)
	}
}

func TestAcceptedReplies(t *testing.T) {
	t.Parallel()
	tests := []struct {
		predictions string
		typ         inference.Type
		family      inference.Family
		want        []string
	}{
		{`["This is a test!"]`, inference.Completions, inference.Routes, []string{`"This is a test!"`}}, // P1
		{`["a", "b"]`, inference.Completions, inference.Routes, []string{`"a"`, `"b"`}},
		{`{"candidates": ["a", "b"]}`, inference.Completions, inference.Routes, []string{`"a"`, `"b"`}},
		{`{"candidates": ["a", "b"], "ignored": ["c"]}`, inference.Completions, inference.Routes, []string{`"a"`, `"b"`}},
		{`{"arbitrary_key": ["a", "b", "c"]}`, inference.Completions, inference.Routes, []string{`"a"`, `"b"`, `"c"`}}, // P5
		{`{"choices": ["a"], "ignored": ["c"]}`, inference.Completions, inference.Endpoints, []string{`"a"`}},
		{`{"choices": ["a"], "ignored": ["c"]}`, inference.Chat, inference.Routes, []string{`"a"`}},
		{`{"ignored": 5, "candidates": ["a"]}`, inference.Chat, inference.Endpoints, []string{`"a"`}},
		{`{"choices": ["new"], "candidates": ["old"]}`, inference.Chat, inference.Endpoints, []string{`"new"`}},
		{`{"choices": ["new"], "candidates": ["old"]}`, inference.Chat, inference.Routes, []string{`"old"`}},
		{`{"a": [1], "a": ["last"]}`, inference.Chat, inference.Endpoints, []string{`"last"`}},
		{`["", "\ud83d", "é\u00e9 <b>"]`, inference.Chat, inference.Endpoints, []string{`""`, `"\ud83d"`, `"é\u00e9 <b>"`}},
		{`["It is a test"]`, inference.Chat, inference.Routes, []string{`"It is a test"`}}, // P20

		{`[[0.01, -0.1], [0.03, -0.03]]`, inference.Embeddings, inference.Routes, []string{`[0.01, -0.1]`, `[0.03, -0.03]`}}, // P13
		{`[0.10, 2e-05,-0.0]`, inference.Embeddings, inference.Routes, []string{`[0.10,2e-05,-0.0]`}},
		{`[[0.1], [], [0.2,3]]`, inference.Embeddings, inference.Routes, []string{`[0.1]`, `[]`, `[0.2,3]`}},
		{`[[1, 2]]`, inference.Embeddings, inference.Routes, []string{`[1, 2]`}},
		{`[[12345678901234567890]]`, inference.Embeddings, inference.Routes, []string{`[12345678901234567890]`}},
		{`[[NaN, 1.50], [Infinity,-Infinity], [1e400]]`, inference.Embeddings, inference.Routes, []string{`[null, 1.50]`, `[null,null]`, `[null]`}},
		{`[NaN, 1.50]`, inference.Embeddings, inference.Routes, []string{`[null,1.50]`}},
		{`[[1.0], [2.0], [3.0]]`, inference.Embeddings, inference.Routes, []string{`[1.0]`, `[2.0]`, `[3.0]`}}, // more rows than inputs
	}
	for _, tt := range tests {
		for _, body := range []string{
			`{"predictions": ` + tt.predictions + `}`,
			` {"model_version": NaN, "predictions":[0],"predictions":` + tt.predictions + `, "error": "stray"} `,
		} {
			t.Run(body, func(t *testing.T) {
				t.Parallel()
				res, err := decode(&inference.Route{Family: tt.family}, &inference.Request{Type: tt.typ, Items: raws(`"x"`)}, answer(body))
				if err != nil {
					t.Fatal(err)
				}
				if !slices.EqualFunc(res.Items, tt.want, func(a []byte, b string) bool { return string(a) == b }) || res.Groups != nil || res.Body != nil {
					t.Errorf("got %q groups %v, want %q", res.Items, res.Groups, tt.want)
				}
			})
		}
	}
}

func TestRefusedReplies(t *testing.T) {
	t.Parallel()
	tests := []struct{ body, text, row string }{ // the kind of complaint for a text route and for embeddings; "" = accepted
		{`{"predictions": [1, 2, 3]}`, "3 validation errors for " + servingText + ".0", "3 validation errors for " + embeddings + ".0"}, // P6
		{`{"predictions": {"candidates": [1,2,3]}}`, "3 validation errors for " + servingText + ".0", "1 validation error for " + embeddings + "\n"},
		{`{"predictions": {"arbitrary_key": [1,2,3]}}`, "3 validation errors for " + servingText, embeddings},
		{`{"predictions": {"key1": ["a"], "key2": ["b"]}}`, "1 validation error for " + servingText + "\n", embeddings},
		{`{"predictions": []}`, "1 validation error for " + servingText + "\n", "1 validation error for " + embeddings + "\n"},
		{`{"predictions": {"candidates": []}}`, servingText + "\n", embeddings + "\n"}, // P11
		{`{"invalid_return_key": ["a", "b"]}`, "1 validation error for " + servingText + "\n", "1 validation error for " + embeddings + "\n"},
		{`{"predictions": "string_value"}`, servingText + "\n", embeddings + "\n"}, // P14
		{`{"predictions": ["string", "values"]}`, "", "2 validation errors for " + embeddings + ".0\n"},
		{`{"predictions": [[1.0, 2.3], ["string", "values"]]}`, servingText + ".0\n", "2 validation errors for " + embeddings + ".1.0\n"},
		{`{"predictions": [[1.0, 2.3], [1.2, "string"]]}`, servingText + ".0\n", "1 validation error for " + embeddings + ".1.1\n"},
		{`{"predictions": [[], []]}`, servingText + ".0\n", embeddings + "\n"},
		{`{"predictions": [0.1, 2]}`, servingText + ".0\n", "2 validation errors for " + embeddings + ".0\n"},
		{`{"predictions": [[0.1], 0.2]}`, servingText + ".0\n", embeddings + ".1\n"},
		{`{"predictions": [[true]]}`, servingText + ".0\n", embeddings + ".0.0\n"},
		{`{"predictions": [[null, 0.1]]}`, servingText + ".0\n", embeddings + ".0.0\n"},
		{`{"predictions": [[[0.1]]]}`, servingText + ".0\n", embeddings + ".0.0\n"},
		{`{"predictions": [[` + strings.Repeat("1", 400) + `]]}`, servingText + ".0\n", embeddings + ".0.0\n"},
		{`{"predictions": [{"embedding": [0.1]}]}`, servingText + ".0\n", embeddings + ".0\n"},
		{`{"predictions": [{"text": "a"}]}`, servingText + ".0\n", embeddings + ".0\n"},
		{`{"predictions": [["a"]]}`, servingText + ".0\n", embeddings + ".0.0\n"},
		{`{"predictions": [NaN]}`, servingText + ".0\n", ""},
		{`{"predictions": NaN}`, servingText + "\n", embeddings + "\n"},
		{`{"predictions": null}`, servingText + "\n", embeddings + "\n"},
		{`{"predictions": 5}`, servingText + "\n", embeddings + "\n"},
		{`{"predictions": ""}`, servingText + "\n", embeddings + ".0\n"},
		{`{"predictions": {}}`, servingText + "\n", embeddings + ".0\n"},
		{`{"predictions": {"k": 0.0}}`, servingText + "\n", embeddings + "\n"},
		{`{"predictions": {"k": false}}`, servingText + "\n", embeddings + "\n"},
		{`{"predictions": {"k": {"j": ["a"]}}}`, servingText + "\n", embeddings + "\n"},
		{`{}`, servingText + "\n", embeddings + "\n"},
		{`{"Predictions": ["a"]}`, servingText + "\n", embeddings + "\n"},
	}
	for _, tt := range tests {
		for typ, want := range map[inference.Type]string{inference.Completions: tt.text, inference.Chat: tt.text, inference.Embeddings: tt.row} {
			t.Run(string(typ)+tt.body[:min(len(tt.body), 60)], func(t *testing.T) {
				t.Parallel()
				_, err := decode(&inference.Route{}, &inference.Request{Type: typ, Items: raws(`"x"`)}, answer(tt.body))
				if want == "" {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				f := fault.From(err)
				if f == nil || f.Code != fault.UpstreamBadResponse {
					t.Fatalf("got %v", err)
				}
				var detail string
				if err := json.Unmarshal(f.Detail, &detail); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(detail, want) || !strings.Contains(detail, "accepts") || strings.Contains(f.Message, "\n") {
					t.Errorf("detail %q, message %q, want %q", detail, f.Message, want)
				}
			})
		}
	}
}

func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	const unsupported = `"The returned data type from the route service is not supported. Received content type: `
	tests := map[string]struct {
		reply           provider.Reply
		message, detail string // what they contain
	}{
		"cut":            {answer(`{"predictions": ["a"`), "not JSON", ""},
		"trailing":       {answer(`{"predictions": ["a"]} x`), "not JSON", ""},
		"empty":          {answer(``), "empty body", ""},
		"204":            {provider.Reply{Status: 204, ContentType: "application/json"}, "204 No Content", ""},
		"a list":         {answer(`[["a"]]`), "a list instead of an object", ""},
		"null":           {answer(`null`), "null instead of an object", ""},
		"latin-1":        {answer("{\"predictions\": [\"h\xe9\"]}"), "UTF-8", ""},
		"BOM":            {answer("\ufeff" + `{"predictions": ["a"]}`), "not JSON", ""},
		"too deep":       {answer(`{"predictions": ` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`), "nested", ""},
		"HTML":           {provider.Reply{Status: 500, ContentType: "text/html", Body: []byte("<html>500</html>")}, "<html>", unsupported + "text/html"},
		"no type":        {provider.Reply{Status: 200, Body: []byte(`{"predictions": ["a"]}`)}, "None", unsupported + "None"},
		"no type, 204":   {provider.Reply{Status: 204}, "204", unsupported + "None"},
		"CSV":            {provider.Reply{Status: 200, ContentType: "text/csv", Body: []byte("a,b")}, "text/csv", unsupported + "text/csv"},
		"capitals":       {provider.Reply{Status: 200, ContentType: "Application/JSON", Body: []byte(`{}`)}, "Application/JSON", unsupported + "Application/JSON"},
		"problem":        {provider.Reply{Status: 400, ContentType: "application/problem+json", Body: []byte(`{}`)}, "400", unsupported + "application/problem+json"},
		"text":           {provider.Reply{Status: 200, ContentType: "text/plain; charset=utf-8", Body: []byte("héllo")}, "plain text", "1 validation error for ServingTextResponse"},
		"redirect":       {provider.Reply{Status: 307, ContentType: "application/json", Body: []byte(`{"r": 1}`)}, "redirects are not followed", "Field required"},
		"HTML, redirect": {provider.Reply{Status: 302, ContentType: "text/html", Body: []byte("x")}, "302 Found", unsupported + "text/html"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := decode(&inference.Route{}, &inference.Request{Type: inference.Completions, Items: raws(`"x"`)}, tt.reply)
			f := fault.From(err)
			if f == nil || f.Code != fault.UpstreamBadResponse || !strings.Contains(f.Message, tt.message) || !strings.Contains(string(f.Detail), tt.detail) {
				t.Errorf("got %v with detail %s, want %q and %q", err, f.Detail, tt.message, tt.detail)
			}
		})
	}
}

// A proxy's page about a model server that is away has MLflow's status and text, and is worth another attempt.
func TestPagesOfProxies(t *testing.T) {
	t.Parallel()
	for status, again := range map[int]bool{429: true, 502: true, 503: true, 504: true, 404: false, 500: false, 501: false, 200: false} {
		_, err := decode(&inference.Route{}, &inference.Request{Type: inference.Embeddings, Items: raws(`"x"`)},
			provider.Reply{Status: status, ContentType: "text/html", Body: []byte("<h1>nginx</h1>"), RetryAfter: 7 * time.Second})
		f := fault.From(err)
		code, wait := fault.UpstreamBadResponse, time.Duration(0)
		if again {
			code, wait = fault.UpstreamError, 7*time.Second
		}
		if f.Code != code || again != (f.Status == 502) || f.RetryAfter != wait || job.Retryable(f) != again {
			t.Errorf("%d: %v, status %d, again after %v", status, f, f.Status, f.RetryAfter)
		}
		if want := "Received content type: text/html"; !strings.Contains(string(f.Detail), want) || !strings.Contains(f.Message, "nginx") {
			t.Errorf("%d: detail %s, message %s", status, f.Detail, f.Message)
		}
	}
}

func TestAnswersBelow400(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 201, 202, 300, 302} {
		res, err := decode(&inference.Route{}, &inference.Request{Type: inference.Chat, Items: raws(`"x"`)},
			provider.Reply{Status: status, ContentType: "application/json; charset=utf-8", Body: []byte(`{"predictions": ["a"]}`)})
		if err != nil || len(res.Items) != 1 {
			t.Errorf("status %d: %v, %v", status, res, err)
		}
	}
}

// What a server declares about its charset is believed.
func TestCharsets(t *testing.T) {
	t.Parallel()
	const text = `{"predictions": ["hé"]}`
	wide := func(order binary.AppendByteOrder) string {
		var b []byte
		for _, unit := range utf16.Encode([]rune(text)) {
			b = order.AppendUint16(b, unit)
		}
		return string(b)
	}
	latin := "{\"predictions\": [\"h\xe9\"]}"
	for charset, body := range map[string]string{
		"": text, "utf-8": text, "unheard-of": text, "ISO-8859-1": latin, "latin_1": latin,
		"utf-16le": wide(binary.LittleEndian), "UTF-16BE": wide(binary.BigEndian),
		"utf-16": "\xff\xfe" + wide(binary.LittleEndian), "utf16": "\xfe\xff" + wide(binary.BigEndian), `"UTF-16"`: wide(binary.LittleEndian),
	} {
		res, err := decode(&inference.Route{}, &inference.Request{Type: inference.Chat, Items: raws(`"x"`)},
			provider.Reply{Status: 200, ContentType: "application/json; charset=" + charset, Body: []byte(body)})
		if err != nil || len(res.Items) != 1 || string(res.Items[0]) != `"hé"` {
			t.Errorf("charset %s: %v, %v", charset, res, err)
		}
	}
	_, err := decode(&inference.Route{}, &inference.Request{Type: inference.Chat, Items: raws(`"x"`)},
		provider.Reply{Status: 200, ContentType: "application/json; charset=utf-16le", Body: []byte(wide(binary.LittleEndian) + "}")})
	if fault.CodeOf(err) != fault.UpstreamBadResponse {
		t.Errorf("half a character too many: %v", err)
	}
	_, err = decode(&inference.Route{}, &inference.Request{Type: inference.Chat, Items: raws(`"x"`)},
		provider.Reply{Status: 503, ContentType: "text/plain; charset=latin-1", Body: []byte("pann\xe9")})
	if f := fault.From(err); string(f.Detail) != `{"message":"panné"}` {
		t.Errorf("an error in latin-1: %s", f.Detail)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	const js = "application/json"
	tests := []struct {
		name          string
		status        int
		media, body   string
		reason        string
		detail, saysa string
	}{
		{"MLflow's form", 400, js, `{"error_code": "BAD_REQUEST", "message": "bad é input", "x": NaN}`, "Bad Request", `{"error_code": "BAD_REQUEST", "message": "bad é input", "x": null}`, "bad é input"},
		{"error object", 429, js, `{"error": {"message": "slow down", "code": 7}}`, "", `"slow down"`, "slow down"},
		{"error without message", 404, js, `{"error": {"code": 7}}`, "Custom Reason", `"Custom Reason"`, "404 Custom Reason"},
		{"error without message or reason", 404, js, `{"error": {"code": 7}}`, "", `""`, "404 Not Found"},
		{"message null", 400, js, `{"error": {"message": null}}`, "Own Words", `"Bad Request"`, "400"},
		{"message empty", 400, js, `{"error": {"message": ""}}`, "Bad Request", `""`, "400"},
		{"message no string", 400, js, `{"error": {"message": [1]}}`, "Bad Request", `[1]`, "400"},
		{"MLServer", 422, js, `{"error": "wrong\ntype"}`, "", `"wrong\ntype"`, "wrong\ntype"},
		{"error null", 400, js, `{"error": null}`, "", `{"error": null}`, "400"},
		{"error number", 400, js, `{"error": 5, "message": "m"}`, "", `{"error": 5, "message": "m"}`, "m"},
		{"list", 400, js, `["error"]`, "", `["error"]`, "400"},
		{"string", 400, js, `"some error text"`, "", `"some error text"`, "some error text"},
		{"null", 400, js, `null`, "", `"Bad Request"`, "400"},
		{"number", 400, js, `5`, "", `5`, "400"},
		{"detail", 422, js, `{"detail": [{"loc": ["body"]}]}`, "", `{"detail": [{"loc": ["body"]}]}`, "422"},
		{"text", 503, "text/plain", "down for <maintenance>", "", `{"message":"down for <maintenance>"}`, "down for <maintenance>"},
		{"text, not UTF-8", 500, "text/plain", "h\xe9", "", "{\"message\":\"h\ufffd\"}", "500"},
		{"empty text", 503, "text/plain", "", "Gone Away", `{"message":""}`, "503 Gone Away"},
		{"blank text", 400, "text/plain", " \n", "", `{"message":" \n"}`, "400 Bad Request"},
		{"the time limit's text in another status", 400, js, "Request processing time exceeded limit", "", `{"message":"Request processing time exceeded limit"}`, "400"},
		{"no text", 500, js, "", "", `{"message":"Internal Server Error"}`, "500 Internal Server Error"},
		{"not JSON", 502, js, "<html>", "", `{"message":"<html>"}`, "<html>"},
		{"not UTF-8", 400, js, "{\"message\": \"h\xe9\"}", "", "{\"message\":\"{\\\"message\\\": \\\"h\ufffd\\\"}\"}", "400"},
		{"504 in JSON", 504, js, `{"error_code": "DEADLINE_EXCEEDED"}`, "", `{"error_code": "DEADLINE_EXCEEDED"}`, "504"},
		{"unknown status", 599, js, `{}`, "", `{}`, "599"},
		{"lone surrogate", 400, js, `{"message": "\ud83d"}`, "", `{"message": "\ud83d"}`, "400"},
	}
	for _, tt := range tests {
		for _, typ := range inference.Types() {
			t.Run(tt.name+" "+string(typ), func(t *testing.T) {
				t.Parallel()
				body := []byte(tt.body)
				_, err := decode(&inference.Route{}, &inference.Request{Type: typ, Items: raws(`"x"`)},
					provider.Reply{Status: tt.status, Reason: tt.reason, ContentType: tt.media, Body: body})
				clear(body) // an error outlives the reply's bytes
				f := fault.From(err)
				if f == nil || f.Code != fault.UpstreamError || f.Status != tt.status || string(f.Detail) != tt.detail || !strings.Contains(f.Message, tt.saysa) {
					t.Errorf("got %v, detail %s, want %s", err, f.Detail, tt.detail)
				}
			})
		}
	}
}

func TestTimeLimitOfScoringServer(t *testing.T) {
	t.Parallel()
	_, err := decode(&inference.Route{}, &inference.Request{Type: inference.Raw},
		provider.Reply{Status: 504, ContentType: "application/json", Body: []byte("Request processing time exceeded limit")})
	if fault.CodeOf(err) != fault.UpstreamTimeout || !strings.Contains(err.Error(), "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT") {
		t.Errorf("got %v", err)
	}
}

func TestHugeErrorBodyIsNotKept(t *testing.T) {
	t.Parallel()
	_, err := decode(&inference.Route{}, &inference.Request{Type: inference.Raw}, provider.Reply{
		Status: 400, ContentType: "application/json", Body: []byte(`{"message": "` + strings.Repeat("x", 1<<20) + `"}`),
	})
	if f := fault.From(err); f == nil || f.Code != fault.UpstreamError || len(f.Detail) > 1000 || len(f.Message) > 1000 {
		t.Errorf("detail of %d bytes, message of %d", len(f.Detail), len(f.Message))
	}
	_, err = decode(&inference.Route{}, &inference.Request{Type: inference.Raw}, provider.Reply{
		Status: 400, ContentType: "text/plain", Body: []byte(strings.Repeat("x", 100_000)),
	})
	if f := fault.From(err); f == nil || len(f.Detail) < 100_000 || len(f.Message) > 1200 {
		t.Errorf("of a long text, detail of %d bytes, message of %d", len(f.Detail), len(f.Message))
	}
}

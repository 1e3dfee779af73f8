package mlflow_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/mlflow"
	"headrace/internal/splice"
)

func raw(body string) *inference.Request {
	return &inference.Request{Type: inference.Raw, Body: []byte(body)}
}

func rowsOf(t *testing.T, req *inference.Request) provider.Rows {
	t.Helper()
	rows, ok := mlflow.New().Rows(&inference.Route{}, req)
	if !ok {
		t.Fatalf("%s %s%s cannot share a call", req.Type, req.Items, req.Body)
	}
	return rows
}

func TestRequestsThatMayShareACall(t *testing.T) {
	t.Parallel()
	text := func(params string, items ...string) *inference.Request {
		return &inference.Request{Type: inference.Completions, Items: raws(items...), Params: []byte(params)}
	}
	tests := map[string]struct {
		a, b   *inference.Request
		merged string // "" when they must not share one
	}{
		"texts":                     {text(``, `"a"`), text(`{}`, `"b"`, `"\u00e9"`), `{"inputs":["a","b","\u00e9"]}`},
		"equal parameters":          {text(`{"n": 1,"t":0.0}`, `"a"`), text(`{"t":0.0, "n":1}`, `"b"`), `{"inputs":["a","b"],"params":{"n":1,"t":0.0}}`},
		"other parameters":          {text(`{"t":0.0}`, `"a"`), text(`{"t":0}`, `"b"`), ``},
		"inputs":                    {raw(`{"inputs": [[1.50, 2]]}`), raw(`{"inputs":[[1e-7,3], [2.0,4]]}`), `{"inputs":[[1.50, 2],[1e-7,3],[2.0,4]]}`},
		"inputs and instances":      {raw(`{"inputs":[[1]]}`), raw(`{"instances":[[1]]}`), ``},
		"an integer and a float":    {raw(`{"inputs":[[1]]}`), raw(`{"inputs":[[1.0]]}`), ``},
		"other lengths":             {raw(`{"inputs":[[1]]}`), raw(`{"inputs":[[1,2]]}`), ``},
		"texts and numbers":         {raw(`{"inputs":["a"]}`), raw(`{"inputs":[1]}`), ``},
		"booleans and integers":     {raw(`{"inputs":[[true]]}`), raw(`{"inputs":[[1]]}`), ``},
		"instances with parameters": {raw(`{"instances":["a"],"params":{"k":[1]}}`), raw(`{"params":{"k":[1]},"instances":["b"]}`), `{"instances":["a","b"],"params":{"k":[1]}}`},
		"a split": {
			raw(`{"dataframe_split":{"columns":["a", "b"],"data":[[1,"x"]]}}`),
			raw(`{"dataframe_split":{"data":[[2,"y"],[3,"z"]],"index":[0,1],"columns":["a","b"]}}`),
			`{"dataframe_split":{"columns":["a","b"],"data":[[1,"x"],[2,"y"],[3,"z"]]}}`,
		},
		"a split without columns":     {raw(`{"dataframe_split":{"data":[[1]]}}`), raw(`{"dataframe_split":{"data":[[2]]}}`), `{"dataframe_split":{"data":[[1],[2]]}}`},
		"a split with other columns":  {raw(`{"dataframe_split":{"columns":["a"],"data":[[1]]}}`), raw(`{"dataframe_split":{"columns":["b"],"data":[[1]]}}`), ``},
		"records":                     {raw(`{"dataframe_records":[{"a":1,"b":"x"}]}`), raw(`{"dataframe_records":[{"a":2, "b":"y"}]}`), `{"dataframe_records":[{"a":1,"b":"x"},{"a":2, "b":"y"}]}`},
		"records in another order":    {raw(`{"dataframe_records":[{"a":1,"b":"x"}]}`), raw(`{"dataframe_records":[{"b":"y","a":2}]}`), ``},
		"records with other keys":     {raw(`{"dataframe_records":[{"a":1}]}`), raw(`{"dataframe_records":[{"a":1,"b":2}]}`), ``},
		"many columns":                {raw(`{"inputs":[[` + strings.Repeat(`1,"a",`, 300) + `1]]}`), raw(`{"inputs":[[` + strings.Repeat(`2,"b",`, 300) + `2]]}`), `-`},
		"many columns, one different": {raw(`{"inputs":[[` + strings.Repeat(`1,"a",`, 300) + `1]]}`), raw(`{"inputs":[[` + strings.Repeat(`2,"b",`, 300) + `2.0]]}`), ``},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := rowsOf(t, tt.a), rowsOf(t, tt.b)
			if (a.Key == b.Key) != (tt.merged != "") {
				t.Fatalf("keys %q and %q", a.Key, b.Key)
			}
			if len(tt.merged) <= 1 {
				return
			}
			call := mlflow.New().Merge(b, append(a.Values, b.Values...))
			if string(call.Body) != tt.merged || call.Path != "invocations" || call.ContentType != "application/json" {
				t.Errorf("%s %s %s, want %s", call.Path, call.ContentType, call.Body, tt.merged)
			}
		})
	}
}

func TestRequestsThatMustGoAlone(t *testing.T) {
	t.Parallel()
	tests := map[string]*inference.Request{
		"chat":                     {Type: inference.Chat, Items: raws(`"a"`)},
		"no text":                  {Type: inference.Embeddings},
		"tokens":                   {Type: inference.Embeddings, Items: raws(`[1,2]`)},
		"parameters twice":         {Type: inference.Embeddings, Items: raws(`"a"`), Params: []byte(`{"a":1,"a":2}`)},
		"messages":                 raw(`{"messages":[{"role":"user","content":"a"}]}`),
		"messages beside inputs":   raw(`{"inputs":["a"],"messages":[]}`),
		"an unknown member":        raw(`{"inputs":["a"],"signature_name":"x"}`),
		"one text":                 raw(`{"inputs":"a"}`),
		"columns":                  raw(`{"inputs":{"a":[1,2]}}`),
		"no rows":                  raw(`{"inputs":[]}`),
		"null":                     raw(`{"inputs":[[1,null]]}`),
		"NaN":                      raw(`{"inputs":[[1,NaN]]}`),
		"beyond floats":            raw(`{"inputs":[[1e999]]}`),
		"an integer of 64 bits":    raw(`{"inputs":[[9223372036854775807]]}`),
		"rows of several kinds":    raw(`{"inputs":[1,"x"]}`),
		"ragged rows":              raw(`{"inputs":[[1],[1,2]]}`),
		"an index of its own":      raw(`{"dataframe_split":{"columns":["a"],"index":["x"],"data":[[1]]}}`),
		"an index too short":       raw(`{"dataframe_split":{"columns":["a"],"index":[0],"data":[[1],[2]]}}`),
		"a split that is a list":   raw(`{"dataframe_split":[[1]]}`),
		"a split of records":       raw(`{"dataframe_split":{"data":[{"a":1}]}}`),
		"records that are lists":   raw(`{"dataframe_records":[[1]]}`),
		"a name twice":             raw(`{"dataframe_records":[{"a":1,"a":2}]}`),
		"inputs twice":             raw(`{"inputs":["a"],"inputs":["b"]}`),
		"nested too deeply":        raw(`{"inputs":[` + strings.Repeat("[", 12) + "1" + strings.Repeat("]", 12) + `]}`),
		"not UTF-8":                raw("{\"inputs\":[\"\xff\"]}"),
		"not JSON":                 raw(`{"inputs":["a"]`),
		"CSV":                      raw("a,b\n1,2\n"),
		"parameters that are null": raw(`{"inputs":["a"],"params":null}`),
	}
	for name, req := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if rows, ok := mlflow.New().Rows(&inference.Route{}, req); ok {
				t.Errorf("it may share a call: %q", rows.Key)
			}
		})
	}
}

// aloneOf is what a caller gets whose rows were cut from a merged reply.
func aloneOf(t *testing.T, req *inference.Request, merged string, n, from, to int) (*inference.Result, error) {
	t.Helper()
	m, route := mlflow.New(), &inference.Route{Name: "r"}
	rows, err := m.Cut(route, req.Type, n, answer(merged))
	if err != nil {
		t.Fatal(err)
	}
	reply, ok := m.Whole(req.Type, answer(merged), rows[from:to])
	if !ok {
		t.Fatal("it has to be asked alone")
	}
	return m.Decode(route, req, reply)
}

func TestCallerSeesWhatItWouldHaveSeenAlone(t *testing.T) {
	t.Parallel()
	prompts := func(n int) *inference.Request {
		return &inference.Request{Type: inference.Completions, Items: make([][]byte, n)}
	}
	texts := &inference.Request{Type: inference.Embeddings, Items: make([][]byte, 1)}
	tests := map[string]struct {
		req         *inference.Request
		merged      string
		n, from, to int
		alone       string // the reply to the request alone
	}{
		"one prompt":                  {prompts(1), `{"predictions": ["race", "read"]}`, 2, 1, 2, `{"predictions": ["read"]}`},
		"two masks in company":        {prompts(1), `{"predictions": ["race", ["love", "to"]]}`, 2, 1, 2, `{"predictions": ["love", "to"]}`},
		"two prompts, one of them so": {prompts(2), `{"predictions": ["x", "race", ["love", "to"]]}`, 3, 1, 3, `{"predictions": ["race", ["love", "to"]]}`},
		"a row of numbers":            {texts, `{"predictions": [[0.10, 1e-07], [2.0, 3.0]]}`, 2, 0, 1, `{"predictions": [[0.10, 1e-07]]}`},
		"NaN in a neighbour's row":    {texts, `{"predictions": [[NaN], [2.0]]}`, 2, 1, 2, `{"predictions": [[2.0]]}`},
		"NaN in its own":              {texts, `{"predictions": [[NaN], [2.0]]}`, 2, 0, 1, `{"predictions": [[NaN]]}`},
		"raw rows":                    {raw(``), `{"predictions": [0, 1, 1]}`, 3, 1, 3, `{"predictions": [1, 1]}`},
		"raw records":                 {raw(``), `{"predictions":[{"0":1.50},{"0":Infinity}]}`, 2, 1, 2, `{"predictions": [{"0":Infinity}]}`},
		"a part of one row, flat":     {texts, `{"predictions": [0.5, 0.25]}`, 1, 0, 1, `{"predictions": [0.5, 0.25]}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := aloneOf(t, tt.req, tt.merged, tt.n, tt.from, tt.to)
			if err != nil {
				t.Fatal(err)
			}
			want, err := decode(&inference.Route{Name: "r"}, tt.req, answer(tt.alone))
			if err != nil {
				t.Fatal(err)
			}
			if string(got.Body) != string(want.Body) || !reflect.DeepEqual(got.Groups, want.Groups) ||
				string(bytes.Join(got.Items, []byte("|"))) != string(bytes.ReplaceAll(bytes.Join(want.Items, []byte("|")), []byte("0.5,0.25"), []byte("0.5, 0.25"))) {
				t.Errorf("%s %s %v, alone %s %s %v", got.Body, got.Items, got.Groups, want.Body, want.Items, want.Groups)
			}
		})
	}
}

func TestReplyThatCannotBeDividedIsRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		kind  inference.Type
		reply provider.Reply
	}{
		"too few rows":         {inference.Raw, answer(`{"predictions": [1]}`)},
		"too many rows":        {inference.Raw, answer(`{"predictions": [1, 2, 3]}`)},
		"candidates":           {inference.Completions, answer(`{"predictions": {"candidates": ["a", "b"]}}`)},
		"choices":              {inference.Raw, answer(`{"predictions": {"choices": ["a", "b"]}}`)},
		"one text":             {inference.Raw, answer(`{"predictions": "ab"}`)},
		"something beside":     {inference.Raw, answer(`{"predictions": [1, 2], "input": "secret of another"}`)},
		"predictions twice":    {inference.Raw, answer(`{"predictions": [1, 2], "predictions": [1, 2]}`)},
		"a list":               {inference.Raw, answer(`[1, 2]`)},
		"cut off":              {inference.Raw, answer(`{"predictions": [1, 2`)},
		"no rows of numbers":   {inference.Embeddings, answer(`{"predictions": [1.5, 2.5]}`)},
		"text instead of JSON": {inference.Raw, provider.Reply{Status: 200, ContentType: "text/plain", Body: []byte(`{"predictions": [1, 2]}`)}},
		"a redirect":           {inference.Raw, provider.Reply{Status: 307, ContentType: "application/json", Body: []byte(`{"predictions": [1, 2]}`)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := mlflow.New().Cut(&inference.Route{Name: "r"}, tt.kind, 2, tt.reply)
			if fault.CodeOf(err) != fault.UpstreamBadResponse {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error quotes another caller's row: %v", err)
			}
		})
	}
}

func TestRowThatMayMeanTwoThingsIsAskedAlone(t *testing.T) {
	t.Parallel()
	m := mlflow.New()
	if _, ok := m.Whole(inference.Raw, answer(``), raws(`["love", "to"]`)); ok {
		t.Error("a list of texts on a raw route may be a row or all rows")
	}
	if reply, ok := m.Whole(inference.Raw, answer(``), raws(`["love", "to"]`, `"race"`)); !ok || string(reply.Body) != `{"predictions": [["love", "to"], "race"]}` {
		t.Errorf("several rows are what they are: %s %v", reply.Body, ok)
	}
	part, err := m.Cut(&inference.Route{}, inference.Completions, 1, answer(`{"predictions": ["love", "to"]}`))
	if err != nil || len(part) != 1 || string(part[0]) != `["love", "to"]` {
		t.Errorf("two predictions for a part of one prompt are its row: %s %v", part, err)
	}
}

// FuzzRows: a body that has rows merges with itself into a body that Python's reader, here Go's, sees as the rows
// twice, with the rest as it was.
func FuzzRows(f *testing.F) {
	for _, body := range []string{
		`{"inputs":["a","b"],"params":{"t":0.10}}`, `{"instances":[[1.5,2]]}`, `{"dataframe_records":[{"a":1,"b":"]}"}]}`,
		`{"dataframe_split":{"columns":["a"],"index":[0],"data":[[1]]}}`, `{"inputs":["\",\"x"]}`, `{"inputs":[NaN]}`, `{"inputs":[1],}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m := mlflow.New()
		rows, ok := m.Rows(&inference.Route{}, &inference.Request{Type: inference.Raw, Body: body})
		if !ok {
			return
		}
		twice := m.Merge(rows, append(append([][]byte{}, rows.Values...), rows.Values...))
		again, ok := m.Rows(&inference.Route{}, &inference.Request{Type: inference.Raw, Body: twice.Body})
		if !ok || len(again.Values) != 2*len(rows.Values) || again.Key != rows.Key {
			t.Fatalf("%s merged with itself is %s", body, twice.Body)
		}
		var alone, merged map[string]any
		one := m.Merge(rows, rows.Values)
		if json.Unmarshal(one.Body, &alone) != nil || json.Unmarshal(body, &merged) != nil {
			t.Fatalf("%s or %s is not JSON", one.Body, body)
		}
		if split, is := merged["dataframe_split"].(map[string]any); is {
			delete(split, "index")
		}
		if params, is := merged["params"].(map[string]any); is && len(params) == 0 {
			delete(merged, "params")
		}
		if !reflect.DeepEqual(alone, merged) {
			t.Fatalf("%s became %s", body, one.Body)
		}
	})
}

// FuzzCut: rows are pieces of the reply, in order, and a request of all rows gets them all.
func FuzzCut(f *testing.F) {
	for _, body := range []string{
		`{"predictions": ["race", ["love", "to"]]}`, `{"predictions": [[0.1, NaN], [1e-7]]}`, `{"predictions":{"candidates":["a"]}}`,
		`{"predictions": [{"a":"],["},2]}`, `{"x":1,"predictions":[1,2]}`, `{"predictions": [1, 2]} x`, "{\"predictions\":[\"\xff\",1]}",
	} {
		f.Add([]byte(body), 2, uint8(0))
	}
	kinds := []inference.Type{inference.Raw, inference.Completions, inference.Embeddings}
	f.Fuzz(func(t *testing.T, body []byte, n int, k uint8) {
		m, kind, reply := mlflow.New(), kinds[int(k)%len(kinds)], answer(string(body))
		rows, err := m.Cut(&inference.Route{}, kind, n, reply)
		if err != nil {
			return
		}
		if len(rows) != n || !utf8.Valid(body) {
			t.Fatalf("%d rows for %d of %q", len(rows), n, body)
		}
		rest := body
		for _, row := range rows {
			at := bytes.Index(rest, row)
			if at < 0 {
				t.Fatalf("%q is not in order in %q", row, body)
			}
			rest = rest[at+len(row):]
		}
		for from := range rows {
			whole, ok := m.Whole(kind, reply, rows[from:])
			if !ok {
				continue
			}
			if v, err := splice.Whole(whole.Body); err != nil || v.Kind != splice.Object {
				t.Fatalf("%q is no reply: %v", whole.Body, err)
			}
		}
	})
}

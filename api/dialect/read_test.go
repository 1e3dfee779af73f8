package dialect_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"headrace/api/dialect"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// asked reads a body in a dialect.
func asked(d dialect.Dialect, route *inference.Route, body string) (*dialect.Asked, error) {
	text, err := dialect.Parse([]byte(body), "application/json")
	if err != nil {
		return nil, err
	}
	return d.Read(route, text)
}

// What is no JSON is told with its place, and what is no text at all is marked so.
func TestBodiesThatAreNoJSON(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]struct {
		kind, says string
		unreadable bool
	}{
		"":                         {kind: "missing", says: "the body is missing"},
		"{":                        {kind: "json_invalid", says: "the body is not JSON"},
		`{"a":}`:                   {kind: "json_invalid", says: "the body is not JSON"},
		"{} x":                     {kind: "json_invalid", says: "the body is not JSON"},
		"\xff":                     {unreadable: true},
		strings.Repeat("[", 5000):  {says: "nested deeper", unreadable: true},
		"[1, 2":                    {kind: "json_invalid", says: "the body is not JSON"},
		`{"a": "` + "\x01" + `"}`:  {kind: "json_invalid", says: "the body is not JSON"},
		`{"a": 01}`:                {kind: "json_invalid", says: "the body is not JSON"},
		strings.Repeat(" ", 10):    {kind: "json_invalid", says: "the body is not JSON"},
		`{"a":1,"b":2,}`:           {kind: "json_invalid", says: "the body is not JSON"},
		`{"a" 1}`:                  {kind: "json_invalid", says: "the body is not JSON"},
		`{'a':1}`:                  {kind: "json_invalid", says: "the body is not JSON"},
		"nul":                      {kind: "json_invalid", says: "the body is not JSON"},
		"\"\\ud8\"":                {kind: "json_invalid", says: "the body is not JSON"},
		`{"text": "half a string}`: {kind: "json_invalid", says: "the body is not JSON"},
	} {
		_, err := dialect.Parse([]byte(body), "application/json")
		f := fault.From(err)
		if f == nil || f.Code != fault.Invalid || !strings.Contains(f.Message, want.says) || errors.Is(err, dialect.ErrUnreadable) != want.unreadable {
			t.Errorf("%.40q: %v", body, err)
			continue
		}
		if want.kind != "" && (len(f.Issues) != 1 || f.Issues[0].Type != want.kind) {
			t.Errorf("%.40q: %+v", body, f.Issues)
		}
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	for kind, good := range map[string]bool{
		"": true, " ": true, "application/json": true, "Application/JSON; charset=utf-8": true, "application/problem+json": true,
		"text/plain": false, "application/x-www-form-urlencoded": false, "json": false, "application/": false, "application/json, text/plain": false, "text/json": false,
	} {
		_, err := dialect.Parse([]byte(`{"a":1}`), kind)
		if f := fault.From(err); good != (err == nil) || err != nil && (!strings.Contains(f.Message, "the Content-Type must be application/json") || f.Issues[0].Ctx["hint"] == nil) {
			t.Errorf("%q: %v", kind, err)
		}
	}
}

// Bodies in UTF-16 and UTF-32 are read as those in UTF-8 are.
func TestBodiesInOtherEncodings(t *testing.T) {
	t.Parallel()
	const text = `{"model":"grün 😀"}`
	var little, big, wide []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		little = append(little, byte(unit), byte(unit>>8))
		big = append(big, byte(unit>>8), byte(unit))
	}
	for _, r := range text {
		wide = append(wide, byte(r), byte(r>>8), byte(r>>16), 0)
	}
	for name, body := range map[string][]byte{"utf-8": []byte(text), "utf-16le": little, "utf-16be": big, "utf-32le": wide} {
		read, err := dialect.Parse(body, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if model, err := dialect.ModelOf(read); err != nil || model != "grün 😀" {
			t.Errorf("%s: %q (%v)", name, model, err)
		}
	}
}

func TestTheModelOfABody(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{`{"model":"a"}`: "a", `{"model":"a","model":"\u0062"}`: "b", `{"x":1,"model":""}`: ""} {
		if read, err := dialect.Parse([]byte(body), ""); err != nil {
			t.Error(err)
		} else if got, err := dialect.ModelOf(read); err != nil || got != want {
			t.Errorf("%s: %q (%v)", body, got, err)
		}
	}
	for _, body := range []string{`{}`, `{"model":null}`, `{"model":5}`, `[]`, `"model"`, `null`} {
		if read, err := dialect.Parse([]byte(body), ""); err != nil {
			t.Error(err)
		} else if got, err := dialect.ModelOf(read); fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: %q (%v)", body, got, err)
		}
	}
}

func TestWhetherABodyHasAMember(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{`{"input":1}`: true, `{"input":null}`: true, `{"inputs":1}`: false, `["input"]`: false} {
		if read, err := dialect.Parse([]byte(body), ""); err != nil || read.Has("input") != want {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// An error about a body inside another one names the whole way to what is wrong.
func TestErrorsAboutABodyInsideAnother(t *testing.T) {
	t.Parallel()
	all := dialect.New()
	route := &inference.Route{Name: "r", Type: inference.Chat, Family: inference.Endpoints}
	_, err := asked(all.Endpoints, route, `{"messages":[{"role":1}]}`)
	f := fault.From(dialect.Within("input", err))
	if f.Param != "input.messages" || !strings.HasPrefix(f.Message, "input.messages[0].role: ") || f.Issues[0].Loc[0] != "input" {
		t.Errorf("%+v", f)
	}
	_, err = dialect.Parse([]byte("{"), "")
	if f = fault.From(dialect.Within("input", err)); f.Param != "input" || !strings.HasPrefix(f.Message, "input: the body is not JSON") {
		t.Errorf("%+v", f)
	}
	for _, other := range []error{errors.New("x"), fault.New(fault.QueueFull, "x")} {
		if got := dialect.Within("input", other); !errors.Is(got, other) {
			t.Errorf("%v was changed: %v", other, got)
		}
	}
}

func TestLimitsAreCheckedBeforeTheyAreRefused(t *testing.T) {
	t.Parallel()
	for body, param := range map[string]string{
		`{"route":"r","limits":[]}`: "", `{"route":"r","limits":[{"calls":1}]}`: "", `{"limits":[]}`: "route", `{"route":1,"limits":[]}`: "route",
		`{"route":"r"}`: "limits", `{"route":"r","limits":{}}`: "limits", `{"route":"r","limits":[1]}`: "limits",
	} {
		read, err := dialect.Parse([]byte(body), "")
		if err != nil {
			t.Fatal(err)
		}
		if f := fault.From(dialect.CheckLimits(read)); param == "" && f != nil || param != "" && (f == nil || f.Param != param) {
			t.Errorf("%s: %v", body, f)
		}
	}
}

// A raw route takes each object as it is, and nothing else.
func TestRawBodiesPassAsTheyAre(t *testing.T) {
	t.Parallel()
	all := dialect.New()
	route := &inference.Route{Name: "r", Type: inference.Raw, Family: inference.Endpoints}
	for name, d := range map[string]dialect.Dialect{"routes": all.Routes, "endpoints": all.Endpoints, "own": all.Own} {
		const body = ` {"inputs": [1.50, NaN], "x": {"a": 1e400}} `
		if a, err := asked(d, route, body); err != nil || strings.TrimSpace(string(a.Request.Body)) != strings.TrimSpace(body) || a.Request.Type != inference.Raw {
			t.Errorf("%s: %+v (%v)", name, a, err)
		}
		for _, other := range []string{"[]", "1", "null", `"x"`} {
			if _, err := asked(d, route, other); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "must be an object with dataframe_split") {
				t.Errorf("%s: %s: %v", name, other, err)
			}
		}
	}
}

// A type of a later version is refused, and not taken for another one.
func TestRoutesOfUnknownTypesAreRefused(t *testing.T) {
	t.Parallel()
	all := dialect.New()
	route := &inference.Route{Name: "r", Type: "llm/v9/video", Family: inference.Endpoints}
	for name, d := range map[string]dialect.Dialect{"routes": all.Routes, "endpoints": all.Endpoints} {
		if _, err := asked(d, route, `{"input":"x"}`); fault.CodeOf(err) != fault.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The form that is stored with a job is enough to write its answer as the call's own would have been.
func TestAnswersOfJobsAreThoseOfCalls(t *testing.T) {
	t.Parallel()
	all := dialect.New()
	for name, c := range map[string]struct {
		d       dialect.Dialect
		kind    inference.Type
		body    string
		items   []string
		dialect string
	}{
		"routes":      {all.Routes, inference.Embeddings, `{"text":["a","b"]}`, []string{"[1,2]", "[3,4]"}, "routes"},
		"endpoints":   {all.Endpoints, inference.Chat, `{"messages":[{"role":"user","content":"x"}]}`, []string{`"y"`}, "endpoints"},
		"own":         {all.Own, inference.Completions, `{"prompt":"x"}`, []string{`"y"`}, "endpoints"},
		"openai":      {all.OpenAI, inference.Embeddings, `{"model":"r","input":["a","b"],"encoding_format":"base64"}`, []string{"[1,2]", "[3,4]"}, "openai"},
		"openai text": {all.OpenAI, inference.Completions, `{"model":"r","prompt":["a","b"]}`, []string{`"y"`, `"z"`}, "openai"},
	} {
		route := &inference.Route{Name: "r", Type: c.kind, Family: inference.Endpoints, Provider: "p", Model: "m"}
		a, err := asked(c.d, route, c.body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		a.Request.ID = "id"
		res := &inference.Result{}
		for _, item := range c.items {
			res.Items = append(res.Items, []byte(item))
		}
		own := written(t, func(out *dialect.Output) {
			if err := c.d.Answer(out, a, res); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		text, err := json.Marshal(dialect.FormOf(all, c.d, a))
		if err != nil {
			t.Fatal(err)
		}
		var form dialect.Form
		if err := json.Unmarshal(text, &form); err != nil || form.Dialect != c.dialect {
			t.Fatalf("%s (%v)", text, err)
		}
		d, restored := form.Restore(all, &job.Record{Route: "r", Provider: "p", Type: c.kind, RequestID: "id"})
		later := written(t, func(out *dialect.Output) {
			if err := d.Answer(out, restored, res); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		if own != later {
			t.Errorf("%s: the call's own answer is\n%s, the job's\n%s", name, own, later)
		}
	}
	if f := (dialect.Form{Created: time.Unix(1, 0).UTC()}); !reflect.DeepEqual(f, func() dialect.Form {
		var g dialect.Form
		text, _ := json.Marshal(f)
		_ = json.Unmarshal(text, &g)
		return g
	}()) {
		t.Error("a form changes when it is stored")
	}
}

// A model that gives fewer answers than were asked for is no answer.
func TestTooFewAnswersAreAnError(t *testing.T) {
	t.Parallel()
	all := dialect.New()
	route := &inference.Route{Name: "r", Type: inference.Embeddings, Family: inference.Endpoints, Model: "m"}
	a, err := asked(all.OpenAI, route, `{"model":"r","input":["a","b"],"dimensions":3}`)
	if err != nil {
		t.Fatal(err)
	}
	for name, items := range map[string][]string{"one vector of two": {"[1,2,3]"}, "short vectors": {"[1,2]", "[1,2]"}} {
		res := &inference.Result{}
		for _, item := range items {
			res.Items = append(res.Items, []byte(item))
		}
		var out dialect.Output
		if err := all.OpenAI.Answer(&out, a, res); err == nil {
			t.Errorf("%s: %d bytes", name, out.Len())
		}
	}
}

// A chat template sees the conversation, and one that grows without bound is stopped.
func TestChatTemplates(t *testing.T) {
	t.Parallel()
	all := dialect.New()
	const body = `{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Why?"}]}`
	for template, want := range map[string]string{
		"": `"system: Be brief.\nuser: Why?"`,
		"{{range .Messages}}[{{.Role}}]{{.Content}}{{end}}": `"[system]Be brief.[user]Why?"`,
	} {
		route := &inference.Route{Name: "r", Type: inference.Chat, Family: inference.Endpoints, ChatTemplate: template}
		a, err := asked(all.OpenAI, route, strings.Replace(body, "{", `{"model":"r",`, 1))
		if err != nil || len(a.Request.Items) != 1 || string(a.Request.Items[0]) != want {
			t.Errorf("%q: %s (%v)", template, a.Request.Items, err)
		}
	}
	for _, template := range []string{"{{.Nothing}}", "{{", "{{range .Messages}}" + strings.Repeat(`{{printf "%9999d" 1}}`, 100) + "{{end}}"} {
		route := &inference.Route{Name: "r", Type: inference.Chat, Family: inference.Endpoints, ChatTemplate: template}
		if _, err := asked(all.OpenAI, route, strings.Replace(body, "{", `{"model":"r",`, 1)); fault.CodeOf(err) != fault.Internal {
			t.Errorf("%.30q: %v", template, err)
		}
	}
}

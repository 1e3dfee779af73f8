package dialect

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"headrace/api/schema"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/openai"
	"headrace/internal/splice"
)

// openAIDialect is OpenAI's form of bodies under /v1. It takes more than MLflow does: a list of prompts, a
// conversation, one stop text, null for any parameter. What becomes of parameters that a served model cannot give
// effect to is in effects.go; model and encoding_format are used up here, everything else goes to the model.
type openAIDialect struct {
	completions, chat, embeddings *schema.Object
	message                       *schema.Object
	effects                       []openai.Effect
	used                          []string // members that do not go to the model
}

func newOpenAIDialect() *openAIDialect {
	used := []string{"model", "prompt", "messages", "input", "encoding_format", "stream_options"}
	for _, e := range openai.Effects() {
		used = append(used, e.Name)
	}
	one := &schema.Object{Open: true, Fields: []schema.Field{
		required("role", schema.String),
		optional("content", schema.Union(
			schema.Branch{Name: "str", Rule: schema.String},
			schema.Branch{Name: "list", Rule: schema.List(object(required("type", schema.String)), 0)},
		)),
	}}
	return &openAIDialect{
		completions: &schema.Object{Open: true, Fields: append(openAIParams(), required("prompt", textsOrTokens()))},
		chat:        &schema.Object{Open: true, Fields: append(openAIParams(), required("messages", messages(one)))},
		embeddings: &schema.Object{Open: true, Fields: []schema.Field{
			optional("model", schema.String),
			required("input", textsOrTokens()),
			optional("encoding_format", schema.OneOf("float", "base64")),
			optional("dimensions", schema.Int(1, math.MaxInt32)),
		}},
		message: one, effects: openai.Effects(), used: used,
	}
}

func openAIParams() []schema.Field {
	positive := schema.Int(1, math.MaxInt64)
	return []schema.Field{
		{Name: "n", Rule: nullAs("1", positive), Default: "1"},
		optional("stop", schema.Union(
			schema.Branch{Name: "str", Rule: oneText},
			schema.Branch{Name: "list[str]", Rule: schema.List(schema.String, 0)},
		)),
		optional("max_tokens", positive), // 0 asks for an empty answer, which no served model gives
		optional("max_completion_tokens", positive),
		optional("stream", schema.Bool),
		optional("model", schema.String),
		optional("temperature", schema.Float(0, 2)),
		optional("top_p", schema.Float(0, 1)),
		optional("presence_penalty", schema.Float(-2, 2)),
		optional("frequency_penalty", schema.Float(-2, 2)),
		optional("top_k", positive),
	}
}

// nullAs takes null for a value.
func nullAs(value string, rule schema.Rule) schema.Rule {
	return func(c *schema.Check, raw []byte) []byte {
		if splice.KindOf(raw) == splice.Null {
			return []byte(value)
		}
		return rule(c, raw)
	}
}

// oneText makes a list of a text.
func oneText(c *schema.Check, raw []byte) []byte {
	text := schema.String(c, raw)
	if text == nil {
		return nil
	}
	list := make([]byte, 0, len(text)+2)
	return append(append(append(list, '['), text...), ']')
}

// ModelOf is the model that a body names: a text. A body that is no object, or names none, is the caller's fault.
func ModelOf(body Body) (string, error) {
	if body.kind != splice.Object {
		_, err := check(&schema.Object{}, body)
		return "", err
	}
	for _, m := range body.members {
		if m.Key != "model" || splice.KindOf(m.Value) == splice.Null {
			continue
		}
		var c schema.Check
		c.Within("model", func() { schema.String(&c, m.Value) })
		if issues := c.Issues(); issues != nil {
			return "", invalid(issues)
		}
		return splice.Unquote(m.Value)
	}
	e := fault.New(fault.Invalid, "the body must name a model: the name of a route, as GET /v1/models lists them")
	e.Param = "model"
	return "", e
}

// Read checks a body of OpenAI.
func (d *openAIDialect) Read(route *inference.Route, body Body) (*Asked, error) {
	if route.Vendor != nil && route.Type != inference.Raw {
		return d.readVendor(route, body)
	}
	switch route.Type {
	case inference.Completions:
		return d.readText(route, body, d.completions)
	case inference.Chat:
		return d.readText(route, body, d.chat)
	case inference.Embeddings:
		return d.readEmbeddings(route, body)
	case inference.Raw:
	}
	return nil, unknownType(route)
}

func (d *openAIDialect) readText(route *inference.Route, body Body, o *schema.Object) (*Asked, error) {
	fields, err := check(o, body)
	if err != nil {
		return nil, err
	}
	a := &Asked{Route: route, created: time.Now(), Request: &inference.Request{Route: route.Name, Type: route.Type}}
	a.Stream = string(declared(o, fields, "stream")) == "true"
	a.usage = string(schema.FieldsOf(splice.Fields(fields.Extra).Get("stream_options")).Get("include_usage")) == "true"
	a.choices = checkedInt(declared(o, fields, "n"))
	if route.Type == inference.Chat && route.Format != inference.FormatInputs {
		return a, d.readNative(a, o, fields)
	}
	if a.Dropped, err = openai.Judge(d.effects, fields.Extra); err != nil {
		return nil, err
	}
	a.Request.Params = params(o, fields, d.unsaid(a)...)
	if route.Type == inference.Chat {
		prompt, err := d.prompt(route, declared(o, fields, "messages"))
		if err != nil {
			return nil, err
		}
		a.Request.Items = [][]byte{prompt}
		return a, nil
	}
	prompt := declared(o, fields, "prompt")
	a.Request.Items = itemsOf(prompt)
	if len(a.Request.Items) == 0 {
		return nil, invalid([]fault.Issue{{Loc: []any{"prompt"}, Type: "too_short", Msg: "there is no prompt in the list", In: prompt}})
	}
	a.Request.Items, a.tokens, err = oneOrMany(route, "prompt", prompt, a.Request.Items)
	return a, err
}

// unsaid are the members that do not go to a model of texts: stream, too, when it asks for a stream that the model cannot
// give.
func (d *openAIDialect) unsaid(a *Asked) []string {
	if a.Stream {
		return append(slices.Clone(d.used), "stream")
	}
	return d.used
}

func (d *openAIDialect) readEmbeddings(route *inference.Route, body Body) (*Asked, error) {
	fields, err := check(d.embeddings, body)
	if err != nil {
		return nil, err
	}
	input := declared(d.embeddings, fields, "input")
	a := &Asked{
		Route: route, created: time.Now(),
		base64: string(declared(d.embeddings, fields, "encoding_format")) == `"base64"`,
		Request: &inference.Request{
			Route: route.Name, Type: route.Type, Items: itemsOf(input),
			Params: params(d.embeddings, fields, d.used...),
		},
		dimensions: checkedInt(declared(d.embeddings, fields, "dimensions")),
	}
	if a.Dropped, err = openai.Judge(d.effects, fields.Extra); err != nil {
		return nil, err
	}
	if len(a.Request.Items) == 0 {
		return nil, nothingToEmbed(input)
	}
	a.texts = splice.KindOf(a.Request.Items[0]) == splice.String
	a.Request.Items, a.tokens, err = oneOrMany(route, "input", input, a.Request.Items)
	return a, err
}

// oneOrMany makes items of a value that may hold token ids: a flat list of them is one text, not many. A model of
// texts would take the first number for the whole text and answer with a vector that is wrong, so ids are refused
// unless the route says that its model takes them.
func oneOrMany(route *inference.Route, field string, value []byte, items [][]byte) (asked [][]byte, tokens int, err error) {
	kind := splice.KindOf(items[0])
	if kind == splice.String {
		return items, 0, nil
	}
	if !route.Tokens {
		how := ""
		if route.Type == inference.Embeddings {
			how = " (LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))"
		}
		e := fault.New(fault.Invalid, "%s holds token ids, but the model of route %q takes text: send the text itself%s. "+
			"If the model does take token ids, its operator sets tokens = true for the route", field, route.Name, how)
		e.Param = field
		return nil, 0, e
	}
	if kind == splice.Number {
		return [][]byte{value}, len(items), nil
	}
	return items, tokensIn(items), nil
}

// tokensIn counts the elements of lists.
func tokensIn(lists [][]byte) int {
	n := 0
	for _, list := range lists {
		if v, err := splice.Whole(list); err == nil {
			n += v.Len
		}
	}
	return n
}

// Answer writes a reply of OpenAI.
func (d *openAIDialect) Answer(out *Output, a *Asked, res *inference.Result) error {
	switch a.Request.Type {
	case inference.Completions, inference.Chat:
		if whole(res) {
			return d.answerNative(out, a, res)
		}
		if err := enoughChoices(a, res); err != nil {
			return err
		}
		id, kind := `"cmpl-`, "text_completion"
		before, after := `,"text":`, `,"logprobs":null,"finish_reason":`
		if a.Request.Type == inference.Chat {
			id, kind = `"chatcmpl-`, "chat.completion"
			before, after = `,"message":{"role":"assistant","content":`, `,"refusal":null},"logprobs":null,"finish_reason":`
		}
		head(out, a, id+a.Request.ID+`"`, kind)
		told := toldOf(res)
		endedChoices(out, res.Items, before, after, told)
		usage(out, a, told)
	case inference.Embeddings:
		if whole(res) {
			out.raw(res.Body)
			return nil
		}
		return d.answerEmbeddings(out, a, res)
	case inference.Raw:
		return unknownType(a.Route)
	}
	out.text(`}`)
	return nil
}

// usage writes counts: those that the model told, else 0, because client libraries add the numbers up.
func usage(out *Output, a *Asked, t told) {
	if t.usage != nil {
		out.text(`,"usage":`)
		out.raw(t.usage)
		return
	}
	out.text(`,"usage":{"prompt_tokens":`)
	out.number(int64(a.tokens))
	if a.Request.Type != inference.Embeddings {
		out.text(`,"completion_tokens":0`)
	}
	out.text(`,"total_tokens":`)
	out.number(int64(a.tokens))
	out.text(`}`)
}

func (d *openAIDialect) answerEmbeddings(out *Output, a *Asked, res *inference.Result) error {
	if a.texts && len(res.Items) != len(a.Request.Items) {
		return fault.New(fault.UpstreamBadResponse,
			"the model server answered %d texts with %d embeddings, so they cannot be told apart", len(a.Request.Items), len(res.Items))
	}
	if err := rightLength(a, res); err != nil {
		return err
	}
	out.text(`{"object":"list","data":[`)
	for i, row := range res.Items {
		comma(out, i)
		out.text(`{"object":"embedding","index":`)
		out.number(int64(i))
		out.text(`,"embedding":`)
		if a.base64 {
			encoded, err := base64Floats(row)
			if err != nil {
				return fault.Wrap(fault.UpstreamBadResponse, err, "embedding %d is not a list of numbers", i)
			}
			out.raw(encoded)
		} else {
			out.raw(row)
		}
		out.text(`}`)
	}
	out.text(`],"model":`)
	out.quoted(a.model())
	usage(out, a, toldOf(res))
	out.text(`}`)
	return nil
}

// base64Floats makes of a JSON list of numbers the JSON string that OpenAI's SDKs ask for: base64 of float32,
// little-endian. null becomes NaN, a number beyond float32 becomes infinite.
func base64Floats(row []byte) ([]byte, error) {
	v, err := splice.Whole(row)
	if err != nil {
		return nil, err
	}
	if v.Kind != splice.Array {
		return nil, errNoRow
	}
	packed := make([]byte, 0, 4*v.Len)
	// The list is well-formed: what stands between its commas is one value each, or part of a value that is
	// no number and is refused for it.
	for rest := v.Raw[1:]; v.Len > 0 && rest != nil; {
		end := bytes.IndexByte(rest, ',')
		var token []byte
		if end >= 0 {
			token, rest = rest[:end], rest[end+1:]
		} else {
			token, rest = rest[:len(rest)-1], nil
		}
		f, err := float32Of(bytes.TrimSpace(token))
		if err != nil {
			return nil, err
		}
		packed = binary.LittleEndian.AppendUint32(packed, math.Float32bits(f))
	}
	encoded := make([]byte, 0, base64.StdEncoding.EncodedLen(len(packed))+2)
	encoded = base64.StdEncoding.AppendEncode(append(encoded, '"'), packed)
	return append(encoded, '"'), nil
}

var errNoRow = errors.New("not a list of numbers")

func float32Of(token []byte) (float32, error) {
	switch splice.KindOf(token) {
	case splice.Null, splice.NonFinite:
		return float32(math.NaN()), nil
	case splice.Number:
		f, err := strconv.ParseFloat(string(token), 32)
		if err != nil && !math.IsInf(f, 0) {
			return 0, errNoRow
		}
		return float32(f), nil
	case splice.Invalid, splice.Bool, splice.String, splice.Array, splice.Object:
	}
	return 0, errNoRow
}

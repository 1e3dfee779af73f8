package schema_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"headrace/api/schema"
	"headrace/internal/splice"
)

// verdict runs one rule and returns what stands for the value, or the kinds of its issues with their places.
func verdict(rule schema.Rule, value string) string {
	var c schema.Check
	out := rule(&c, []byte(value))
	if issues := c.Issues(); issues != nil {
		var all []string
		for _, i := range issues {
			all = append(all, strings.TrimSuffix(i.Type+" "+strings.Trim(fmt.Sprint(i.Loc), "[]"), " "))
		}
		return "!" + strings.Join(all, "; ")
	}
	if out == nil {
		return "left out"
	}
	return string(out)
}

func TestScalars(t *testing.T) {
	t.Parallel()
	float, integer, five := schema.Float(0, 1), schema.Int(1, math.MaxInt64), schema.Int(1, 5)
	for _, c := range []struct {
		name  string
		rule  schema.Rule
		value string
		want  string
	}{
		{"float", float, `5E-1`, `5E-1`},
		{"float of text", float, `" +0.5 "`, `0.5`},
		{"float of text with underscore", float, `"0_1"`, `1`},
		{"float of true", float, `true`, `1.0`},
		{"float too large", float, `1.5`, `!less_than_equal`},
		{"float much too large", float, `1e400`, `!less_than_equal`},
		{"float too small", float, `-0.1`, `!greater_than_equal`},
		{"float NaN", float, `NaN`, `!less_than_equal`},
		{"float -Infinity", float, `-Infinity`, `!greater_than_equal`},
		{"float of NaN text", float, `"nan"`, `!less_than_equal`},
		{"float with comma", float, `"0,5"`, `!float_parsing`},
		{"float hexadecimal", float, `"0x1p-1"`, `!float_parsing`},
		{"float of nothing", float, `""`, `!float_parsing`},
		{"float of null", float, `null`, `!float_type`},
		{"float or null", schema.Nullable(float), `null`, `left out`},
		{"int", integer, `2`, `2`},
		{"int of whole float", integer, `1e2`, `100`},
		{"int huge", integer, `99999999999999999999`, `99999999999999999999`},
		{"int hugely negative", integer, `-99999999999999999999`, `!greater_than_equal`},
		{"int over its bound", five, `99999999999999999999`, `!less_than_equal`},
		{"int of text", integer, `" +002.00 "`, `2`},
		{"int of negative zero text", schema.Integer, `"-0"`, `0`},
		{"int of text with underscore", integer, `"1_0"`, `10`},
		{"int of text with two underscores", integer, `"1__0"`, `!int_parsing`},
		{"int of fraction text", integer, `"1.5"`, `!int_parsing`},
		{"int of a text that ends in its point", integer, `"1."`, `!int_parsing`},
		{"int of exponent text", integer, `"1e0"`, `!int_parsing`},
		{"int of fraction", integer, `1.5`, `!int_from_float`},
		{"int of a float too large", integer, `1e300`, `!int_parsing_size`},
		{"int of infinity", integer, `Infinity`, `!finite_number`},
		{"int of false", integer, `false`, `!greater_than_equal`},
		{"int of list", integer, `[1]`, `!int_type`},
		{"bool", schema.Bool, `true`, `true`},
		{"bool of 0", schema.Bool, `0`, `false`},
		{"bool of 1.0", schema.Bool, `1.0`, `true`},
		{"bool of 2", schema.Bool, `2`, `!bool_parsing`},
		{"bool of -0.0", schema.Bool, `-0.0`, `false`},
		{"bool of -0 as text", schema.Bool, `"-0"`, `!bool_parsing`},
		{"bool of 64 bits", schema.Bool, `9223372036854775807`, `!bool_parsing`},
		{"bool of a whole float too large", schema.Bool, `1e19`, `!bool_type`},
		{"bool of more than 64 bits", schema.Bool, `9223372036854775808`, `!bool_type`},
		{"bool of 1.5", schema.Bool, `1.5`, `!bool_type`},
		{"bool of YES", schema.Bool, `"YES"`, `true`},
		{"bool of maybe", schema.Bool, `"maybe"`, `!bool_parsing`},
		{"bool of list", schema.Bool, `[]`, `!bool_type`},
		{"string", schema.String, `"\u00e9"`, `"\u00e9"`},
		{"string of number", schema.String, `5`, `!string_type`},
		{"word", schema.OneOf("a", "b"), `"b"`, `"b"`},
		{"other word", schema.OneOf("a", "b"), `"c"`, `!literal_error`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := verdict(c.rule, c.value); got != c.want {
				t.Errorf("%s becomes %s, want %s", c.value, got, c.want)
			}
		})
	}
}

func TestContainers(t *testing.T) {
	t.Parallel()
	closed := (&schema.Object{Fields: []schema.Field{
		{Name: "a", Rule: schema.Integer, Required: true}, {Name: "b", Rule: schema.Nullable(schema.String), Default: `"x"`},
	}}).Rule()
	open := (&schema.Object{Open: true, Fields: []schema.Field{{Name: "a", Rule: schema.Integer}}}).Rule()
	texts := schema.Union(
		schema.Branch{Name: "str", Rule: schema.String},
		schema.Branch{Name: "list[str]", Rule: schema.List(schema.String, 0)},
		schema.Branch{Name: "list[int]", Rule: schema.List(schema.Integer, 0)},
	)
	tagged := schema.Tagged("type", schema.Branch{Name: "n", Rule: closed})
	for _, c := range []struct {
		name  string
		rule  schema.Rule
		value string
		want  string
	}{
		{"list keeps its bytes", schema.List(schema.String, 0), `[ "a" , "b" ]`, `[ "a" , "b" ]`},
		{"list is rewritten where values are", schema.List(schema.Integer, 0), `[1.0, true, "3"]`, `[1,1,3]`},
		{"list too short", schema.List(schema.String, 1), `[]`, `!too_short`},
		{"list of the wrong", schema.List(schema.String, 0), `["a",1,null]`, `!string_type 1; string_type 2`},
		{"no list", schema.List(schema.String, 0), `"a"`, `!list_type`},
		{"object", closed, `{"c":1,"a":2.0}`, `{"a":2,"b":"x"}`},
		{"object with null", closed, `{"b":null,"a":1}`, `{"a":1}`},
		{"object lacks a member", closed, `{}`, `!missing a`},
		{"no object", closed, `[]`, `!model_attributes_type`},
		{"open object", open, `{"z":1,"a":"2","y":{"n":null},"_sa":1,"x":null}`, `{"a":2,"z":1,"y":{}}`},
		{"a member twice", open, `{"z":1,"a":1,"z":2}`, `{"a":1,"z":2}`},
		{"dict", schema.Dict, `{"a":null,"b":[null]}`, `{"b":[null]}`},
		{"dict of", schema.DictOf(schema.Integer), `{"a":"1","b":"x"}`, `!int_parsing b`},
		{"union: first", texts, `"a"`, `"a"`},
		{"union: last", texts, `["1",2]`, `[1,2]`},
		{"union: none", texts, `[1.5]`, `!string_type str; string_type list[str] 0; int_from_float list[int] 0`},
		{"tagged", tagged, `{"type":"n","a":1,"b":null}`, `{"a":1}`},
		{"tagged: its issue", tagged, `{"type":"n"}`, `!missing n a`},
		{"tagged: no tag", tagged, `{"a":1}`, `!union_tag_not_found`},
		{"tagged: unknown tag", tagged, `{"type":"m"}`, `!union_tag_invalid`},
		{"tagged: no object", tagged, `"n"`, `!model_attributes_type`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := verdict(c.rule, c.value); got != c.want {
				t.Errorf("%s becomes %s, want %s", c.value, got, c.want)
			}
		})
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("9", 400)
	for value, want := range map[string]string{
		`null`: ``, `NaN`: ``, `1e400`: ``, `"NaN null"`: `"NaN null"`, `1E2`: `1E2`, `[ 1 ]`: `[ 1 ]`,
		`[null, NaN, -Infinity, 1e400]`:                 `[null,null,null,null]`,
		`{"a":null,"b":{"c":null,"d":1e-7},"e":[{}]}`:   `{"b":{"d":1e-7},"e":[{}]}`,
		`{"a":1,"a":null}`:                              `{}`,
		`{"a":1e400,"b":` + long + `,"c":null}`:         `{"b":` + long + `}`,
		long:                                            long,
		`{"_sa_x":1,"\u005fsay":2,"sa":[{"_sa":null}]}`: `{"sa":[{}]}`,
	} {
		if got := string(schema.Clean([]byte(value))); got != want {
			t.Errorf("Clean(%s) = %s, want %s", value, got, want)
		}
	}
}

func TestTooManyMembers(t *testing.T) {
	t.Parallel()
	list := "[" + strings.Repeat("1,", schema.MaxMembers) + "1]"
	if got := verdict(schema.List(schema.Integer, 0), list); got != "!too_long" {
		t.Errorf("a list beyond MaxMembers: %.50s", got)
	}
	var object bytes.Buffer
	for i := range schema.MaxMembers + 1 {
		fmt.Fprintf(&object, `,"k%d":0`, i)
	}
	if got := verdict((&schema.Object{Open: true}).Rule(), "{"+object.String()[1:]+"}"); got != "!too_long" {
		t.Errorf("an object beyond MaxMembers: %.50s", got)
	}
	var c schema.Check
	schema.List(schema.String, 0)(&c, []byte("["+strings.Repeat("1,", 1000)+"1]"))
	if n := len(c.Issues()); n != 100 {
		t.Errorf("%d issues are listed, want the first 100", n)
	}
	var echo schema.Check
	schema.Integer(&echo, []byte(`"`+strings.Repeat("x", schema.MaxEcho)+`"`))
	if echo.Issues()[0].In != nil {
		t.Error("a large value is echoed")
	}
}

// TestExplain compares with what Python 3.11 was seen to say.
func TestExplain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text   string
		offset int
		reason string
	}{
		{`{"a": "\u12"}`, 8, "Invalid \\uXXXX escape"},
		{`{"a": "\u"`, 8, "Invalid \\uXXXX escape"},
		{`"\u123`, 2, "Invalid \\uXXXX escape"},
		{`"\u1234`, 2, "Invalid \\uXXXX escape"},
		{`"\u12345`, 0, "Unterminated string starting at"},
		{`{"a":"b\`, 5, "Unterminated string starting at"},
		{`[1,]`, 3, "Expecting value"},
		{`[1 2]`, 3, "Expecting ',' delimiter"},
		{`{"a":1,}`, 7, "Expecting property name enclosed in double quotes"},
		{`{"a"}`, 4, "Expecting ':' delimiter"},
		{`{"a":01}`, 6, "Expecting ',' delimiter"},
		{`{"a":1.}`, 6, "Expecting ',' delimiter"},
		{`{"a":-}`, 5, "Expecting value"},
		{`{"a":1e}`, 6, "Expecting ',' delimiter"},
		{`x`, 0, "Expecting value"},
		{`{"a":tru}`, 5, "Expecting value"},
		{`[`, 1, "Expecting value"},
		{`{`, 1, "Expecting property name enclosed in double quotes"},
		{`"abc`, 0, "Unterminated string starting at"},
		{`{} x`, 3, "Extra data"},
		{"[1,\n", 4, "Expecting value"},
		{`{"x": "\"`, 6, "Unterminated string starting at"},
		{`"é" x`, 4, "Extra data"},
		{`{"é": x}`, 6, "Expecting value"},
		{`{"a": 1, b}`, 9, "Expecting property name enclosed in double quotes"},
		{`{"a":1`, 6, "Expecting ',' delimiter"},
		{`[-I]`, 1, "Expecting value"},
		{`[-Infinity`, 10, "Expecting ',' delimiter"},
		{`"\ud83d\uzzzz"`, 8, "Invalid \\uXXXX escape"},
		{"  ", 2, "Expecting value"},
		{"\"a\tb\"", 2, "Invalid control character at"},
		{`"a\xb"`, 2, "Invalid \\escape"},
	} {
		if got := schema.Explain([]byte(c.text)); got.Offset != c.offset || got.Reason != c.reason {
			t.Errorf("%q: %d %s, want %d %s", c.text, got.Offset, got.Reason, c.offset, c.reason)
		}
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"plain":             {`{"a":"é"}`, `{"a":"é"}`},
		"byte order mark":   {"\xef\xbb\xbf{}", `{}`},
		"UTF-16 LE":         {"[\x00]\x00", `[]`},
		"UTF-16 BE":         {"\x00[\x00]", `[]`},
		"UTF-16 LE, marked": {"\xff\xfe\x3d\xd8\x00\xde", "😀"},
		"UTF-16 BE, marked": {"\xfe\xff\xd8\x3d\xde\x00", "😀"},
		"UTF-16, half":      {"\xff\xfe\x3d\xd8\x41\x00", `\ud83dA`},
		"UTF-32 LE":         {"[\x00\x00\x00]\x00\x00\x00", `[]`},
		"UTF-32 BE":         {"\x00\x00\x00[\x00\x00\x00]", `[]`},
		"UTF-32 LE, marked": {"\xff\xfe\x00\x00[\x00\x00\x00", `[`},
		"surrogate":         {"\"\xed\xa0\xbd\"", `"\ud83d"`},
		"one byte":          {"5", "5"},
	} {
		got, err := schema.Text([]byte(c.in))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
	for name, in := range map[string]string{
		"broken": "\"\xff\"", "cut": "\"\xe2\x82\"", "compressed": "\x1f\x8b\x08\x01", "odd UTF-16": "\xff\xfe1",
		"beyond Unicode": "\xff\xfe\x00\x00\xff\xff\xff\x7f",
	} {
		if got, err := schema.Text([]byte(in)); !errors.Is(err, schema.ErrUnreadable) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("{\x00}\x00"))
	f.Add([]byte("\"\xed\xa0\xbd\xed\""))
	f.Add([]byte("\x00\x00\xfe\xff\x00\x00\xd8\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if out, err := schema.Text(in); err == nil && !utf8.Valid(out) {
			t.Errorf("%q becomes %q", in, out)
		}
	})
}

// FuzzExplain: whatever the scanner refuses, Explain finds a place in, and only that.
func FuzzExplain(f *testing.F) {
	f.Add(`{"a":[1,2.5e3,"\u00e9\n",null,{}]}`)
	f.Add(`{"a":[1,2.e3,"\u00`)
	f.Add("\"a\x01")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.Count(text, "[")+strings.Count(text, "{") > 400 {
			return
		}
		_, err := splice.Whole([]byte(text))
		got := schema.Explain([]byte(text))
		if (err != nil) != (got.Reason != "") {
			t.Errorf("%q: scanner says %v, Explain %q", text, err, got.Reason)
		}
		if got.Offset < 0 || got.Offset > utf8.RuneCountInString(text) {
			t.Errorf("%q: offset %d", text, got.Offset)
		}
	})
}

// FuzzClean: what is left is JSON without null members.
func FuzzClean(f *testing.F) {
	f.Add(`{"a":null,"b":[null,NaN,{"c":null}],"_sa":1,"\u005fsa":2}`)
	f.Add(`[[1e999,-0.0]]`)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := splice.Whole([]byte(text)); err != nil {
			return
		}
		out := schema.Clean([]byte(text))
		if out == nil {
			return
		}
		var v any
		d := json.NewDecoder(bytes.NewReader(out))
		d.UseNumber() // integers may be longer than float64 has room for
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%q becomes %q: %v", text, out, err)
		}
		if at := nullMember(v); at != "" {
			t.Errorf("%q becomes %q with a null or private member %q", text, out, at)
		}
	})
}

func nullMember(v any) string {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil || strings.HasPrefix(k, "_sa") {
				return k + "!"
			}
			if at := nullMember(e); at != "" {
				return at
			}
		}
	case []any:
		for _, e := range v {
			if at := nullMember(e); at != "" {
				return at
			}
		}
	}
	return ""
}

// FuzzScalars: what stands for a value is JSON, and stays as it is when it is checked again.
func FuzzScalars(f *testing.F) {
	for _, seed := range []string{`"1_0.0"`, `1e2`, `true`, `" -00"`, `"inf"`, `-0.0`} {
		f.Add(seed)
	}
	rules := map[string]schema.Rule{
		"float": schema.Float(-1e300, 1e300), "int": schema.Integer, "bool": schema.Bool, "string": schema.String,
		"list": schema.List(schema.Integer, 0),
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := splice.Whole([]byte(text))
		if err != nil {
			return
		}
		for name, rule := range rules {
			var c, again schema.Check
			out := rule(&c, v.Raw)
			if c.Issues() != nil {
				continue
			}
			if !json.Valid(out) {
				t.Errorf("%s: %q becomes %q", name, text, out)
			}
			if second := rule(&again, out); again.Issues() != nil || !bytes.Equal(second, out) {
				t.Errorf("%s: %q becomes %q, then %q", name, text, out, second)
			}
		}
	})
}

package splice_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"headrace/internal/splice"
)

func TestWholeAccepts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text      string
		kind      splice.Kind
		nonFinite bool
		length    int
		numbers   bool
	}{
		{text: `null`, kind: splice.Null},
		{text: ` true `, kind: splice.Bool},
		{text: "\t\r\nfalse\n", kind: splice.Bool},
		{text: `0`, kind: splice.Number},
		{text: `-0`, kind: splice.Number},
		{text: `-0.0e-0`, kind: splice.Number},
		{text: `12345678901234567890.12345678901234567890E+05`, kind: splice.Number},
		{text: `1e-99999`, kind: splice.Number},
		{text: `1e308`, kind: splice.Number},
		{text: `1e400`, kind: splice.Number, nonFinite: true},
		{text: `-1e400`, kind: splice.Number, nonFinite: true},
		{text: strings.Repeat("9", 309), kind: splice.Number, nonFinite: true},
		{text: strings.Repeat("9", 308), kind: splice.Number},
		{text: strings.Repeat("9", 309) + "e-5", kind: splice.Number},
		{text: "0." + strings.Repeat("9", 400), kind: splice.Number},
		{text: `NaN`, kind: splice.NonFinite, nonFinite: true},
		{text: `Infinity`, kind: splice.NonFinite, nonFinite: true},
		{text: `-Infinity`, kind: splice.NonFinite, nonFinite: true},
		{text: `"NaN \" \\ \/ \b\f\n\r\t \u00e9 \uD83D"`, kind: splice.String},
		{text: "\"\xff\xfe raw bytes\"", kind: splice.String},
		{text: `[]`, kind: splice.Array, numbers: true},
		{text: `[ ]`, kind: splice.Array, numbers: true},
		{text: `[1]`, kind: splice.Array, length: 1, numbers: true},
		{text: `[1, 2.5,-3e4 , 5]`, kind: splice.Array, length: 4, numbers: true},
		{text: `[1,NaN,-Infinity,Infinity]`, kind: splice.Array, nonFinite: true, length: 4, numbers: true},
		{text: `[1,"2"]`, kind: splice.Array, length: 2},
		{text: `[[1,2,3],[4]]`, kind: splice.Array, length: 2},
		{text: `[1,[2,3,4]]`, kind: splice.Array, length: 2},
		{text: `[[2,3,4],1]`, kind: splice.Array, length: 2},
		{text: `{}`, kind: splice.Object},
		{text: `{"a":[1,2],"b":{"c":NaN}, "" : null}`, kind: splice.Object, nonFinite: true},
		{text: strings.Repeat("[", splice.MaxDepth) + strings.Repeat("]", splice.MaxDepth), kind: splice.Array, length: 1},
	}
	for _, tt := range tests {
		t.Run(tt.text[:min(len(tt.text), 40)], func(t *testing.T) {
			t.Parallel()
			v, err := splice.Whole([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(v.Raw), strings.TrimSpace(tt.text); got != want {
				t.Errorf("Raw = %q, want %q", got, want)
			}
			if v.Kind != tt.kind || v.NonFinite != tt.nonFinite || v.Len != tt.length || v.Numbers != tt.numbers {
				t.Errorf("got %+v, want %+v", v, tt)
			}
		})
	}
}

func TestWholeRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]int{ // text: offset of the complaint
		``: 0, ` `: 1, `nul`: 0, `nulL`: 0, `truE`: 0, `Nan`: 0, `nan`: 0, `-Inf`: 1, `+1`: 0, `01`: 1, `-`: 1, `1.`: 2, `.5`: 0,
		`1.e5`: 2, `1e`: 2, `1e+`: 3, `0x1`: 1, `1_0`: 1, `[`: 1, `]`: 0, `[1`: 2, `[1,`: 3, `[1,]`: 3, `[,1]`: 1, `[1 2]`: 3,
		`[01]`: 2, `{`: 1, `{1:2}`: 1, `{"a"}`: 4, `{"a":}`: 5, `{"a":1,}`: 7, `{"a" 1}`: 5, `{"a":1 "b":2}`: 7, `{"a":1]`: 6,
		`"`: 1, `"a`: 2, `"\`: 2, `"\x"`: 2, `"\u12"`: 5, `"\u12g4"`: 5, "\"a\nb\"": 2, "\"12345678\x00\"": 9, `'a'`: 0,
		`1 2`: 2, `{} x`: 3, "\ufeff1": 0, "[1,\x00]": 3, "[\v1]": 1, "/**/1": 0,
		strings.Repeat("[", splice.MaxDepth+1): splice.MaxDepth,
		strings.Repeat(`{"a":`, 600) + "1":     splice.MaxDepth * 5,
	}
	for text, offset := range tests {
		t.Run(text[:min(len(text), 20)], func(t *testing.T) {
			t.Parallel()
			_, err := splice.Whole([]byte(text))
			syntax, ok := errors.AsType[*splice.SyntaxError](err)
			if !ok {
				t.Fatalf("error %v, want a SyntaxError", err)
			}
			if syntax.Offset != offset {
				t.Errorf("%v, want byte %d", err, offset)
			}
		})
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	members, err := splice.Members([]byte(` { "a" : 1.50 , "b\u00e9\n":[ 1 ], "a": {"x": "y"},"` + "\xff" + `":NaN } `))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]string, 0, len(members))
	for _, m := range members {
		got = append(got, m.Key+"="+string(m.Value))
	}
	want := []string{"a=1.50", "bé\n=[ 1 ]", `a={"x": "y"}`, "\ufffd=NaN"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, bad := range []string{``, `[]`, `1`, `{"a":1} x`, `{"a":1`, `{"a":[1,}`, `{a:1}`} {
		if got, err := splice.Members([]byte(bad)); err == nil {
			t.Errorf("Members(%q) = %v, want an error", bad, got)
		}
	}
}

func TestElements(t *testing.T) {
	t.Parallel()
	elements, err := splice.Elements([]byte(` [ 1.0 ,"a,]", [2 , 3],{"k":[]} , Infinity ] `))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1.0", `"a,]"`, "[2 , 3]", `{"k":[]}`, "Infinity"}
	got := make([]string, 0, len(elements))
	for _, e := range elements {
		got = append(got, string(e))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// Appending to an element must not write into its neighbour.
	_ = append(elements[0], "XXXX"...)
	if string(elements[1]) != `"a,]"` {
		t.Errorf("an append to one element changed another: %q", elements[1])
	}
	for _, bad := range []string{``, `{}`, `"[]"`, `[] x`, `[1`, `[1,]`} {
		if got, err := splice.Elements([]byte(bad)); err == nil {
			t.Errorf("Elements(%q) = %v, want an error", bad, got)
		}
	}
}

func TestReaderDescends(t *testing.T) {
	t.Parallel()
	r := splice.NewReader([]byte(`{"skip": [1,{"x":2}], "rows" : [ [1,2] , [NaN] , "no" ], "last":{}}`))
	var got []string
	err := r.Object(func(key string) error {
		got = append(got, fmt.Sprint(key, " is ", r.Kind()))
		if key != "rows" {
			return nil
		}
		return r.Array(func(i int) error {
			if i == 1 {
				return nil // left alone: passed over
			}
			v, err := r.Value()
			got = append(got, fmt.Sprintf("%d %s %d %v", i, v.Raw, v.Len, v.NonFinite))
			return err
		})
	})
	if err == nil {
		err = r.End()
	}
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"skip is a list", "rows is a list", "0 [1,2] 2 false", `2 "no" 0 false`, "last is an object"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestReaderReturnsCallbackError(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	r := splice.NewReader([]byte(`{"a":[1,2,3]}`))
	calls := 0
	err := r.Object(func(string) error {
		return r.Array(func(i int) error {
			calls++
			if i == 1 {
				return enough
			}
			return nil
		})
	})
	if !errors.Is(err, enough) || calls != 2 {
		t.Errorf("err %v after %d calls, want %v after 2", err, calls, enough)
	}
}

func TestReaderBoundsDepth(t *testing.T) {
	t.Parallel()
	r := splice.NewReader([]byte(strings.Repeat("[", 2*splice.MaxDepth)))
	deepest := 0
	var descend func(int) error
	descend = func(int) error {
		deepest++
		return r.Array(descend)
	}
	if err := r.Array(descend); err == nil || deepest != splice.MaxDepth {
		t.Errorf("err %v at depth %d, want an error at %d", err, deepest, splice.MaxDepth)
	}
}

func TestNulled(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`[1, NaN,-Infinity , Infinity]`:          `[1, null,null , null]`,
		`{"NaN":"Infinity \" NaN","x":[-1e999]}`: `{"NaN":"Infinity \" NaN","x":[null]}`,
		`NaN`:                                    `null`,
		`[NaN,1.50]`:                             `[null,1.50]`,
		`[true,false,null,1e-400]`:               `[true,false,null,1e-400]`,
	} {
		text := []byte(in)
		if got := string(splice.Nulled(text)); got != want {
			t.Errorf("Nulled(%s) = %s, want %s", in, got, want)
		}
		if string(text) != in {
			t.Errorf("Nulled(%s) changed its argument to %s", in, text)
		}
	}
	plain := []byte(`{"a":[1,2]}`)
	if got := splice.Nulled(plain); &got[0] != &plain[0] {
		t.Error("Nulled copied a value that has nothing to replace")
	}
}

func TestUnquote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`"a"`: "a", ` "" `: "", `"\u00e9\ud83d\ude00\n"`: "é😀\n", `"\ud83d"`: "\ufffd", "\"\xff\"": "\ufffd", `"<é>"`: "<é>",
	} {
		got, err := splice.Unquote([]byte(in))
		if err != nil || got != want {
			t.Errorf("Unquote(%s) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{``, `1`, `"`, `"a" "b"`, `"\q"`, `a"`} {
		if got, err := splice.Unquote([]byte(bad)); err == nil {
			t.Errorf("Unquote(%s) = %q, want an error", bad, got)
		}
	}
}

func TestKindNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "not JSON", "x": "not JSON", "null": "null", "true": "a boolean", " 1": "a number", "-1": "a number",
		"-Infinity": "NaN or Infinity", "NaN": "NaN or Infinity", `"`: "a string", "[": "a list", "{": "an object",
	} {
		if got := splice.KindOf([]byte(text)).String(); got != want {
			t.Errorf("KindOf(%q) is %s, want %s", text, got, want)
		}
	}
}

// Every byte at every offset inside the eight-byte window, against the plain definition.
func TestSearchesMatchDefinition(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		for at := range 20 {
			text := []byte(strings.Repeat("7", 24))
			text[at] = byte(c)
			wantDigits, wantPlain := len(text), len(text)
			if c < '0' || c > '9' {
				wantDigits = at
			}
			if c < 0x20 || c == '"' || c == '\\' {
				wantPlain = at
			}
			if got := splice.Digits(text, 0); got != wantDigits {
				t.Errorf("digits stops at %d for byte %#x at %d", got, c, at)
			}
			if got := splice.Plain(text, 0); got != wantPlain {
				t.Errorf("plain stops at %d for byte %#x at %d", got, c, at)
			}
		}
	}
}

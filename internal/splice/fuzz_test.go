package splice_test

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"headrace/internal/splice"
)

func FuzzAgainstEncodingJSON(f *testing.F) {
	for _, seed := range []string{
		`{"predictions": [[0.1, -2e-05], [NaN]]}`, `["a\u00e9", {"k": [1, 2, {}]}, null, true]`, `[1e400]`, "\"\xff\"",
		`{"a":1,"a":2}`, ` [ -0.0 , 1E+5 ] `, `[`, `"\ud83d"`, `01`, "[\"12345678\x1f\"]", `-Infinity`, `[[[]],{"":{}}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := splice.Whole(text)
		if json.Valid(text) {
			if err != nil {
				if strings.Contains(err.Error(), "nested deeper") {
					return // the depth limit is ours alone
				}
				t.Fatalf("encoding/json accepts %q, splice does not: %v", text, err)
			}
			sameParts(t, text)
		}
		if err != nil {
			return
		}
		nulled := splice.Nulled(v.Raw)
		if !json.Valid(nulled) {
			t.Fatalf("splice accepts %q, nulled %q is not JSON", text, nulled)
		}
		if again, err := splice.Whole(nulled); err != nil || again.NonFinite {
			t.Fatalf("nulled %q: %+v, %v", nulled, again, err)
		}
		if !v.NonFinite && string(nulled) != string(v.Raw) {
			t.Fatalf("%q holds nothing to replace, but became %q", v.Raw, nulled)
		}
		var decoded any
		if err := json.Unmarshal(nulled, &decoded); err != nil {
			t.Fatalf("nulled %q cannot be decoded: %v", nulled, err)
		}
	})
}

func sameParts(t *testing.T, text []byte) {
	t.Helper()
	switch splice.KindOf(text) {
	case splice.Array:
		var want []json.RawMessage
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		got, err := splice.Elements(text)
		if err != nil || len(got) != len(want) {
			t.Fatalf("Elements(%q) = %q, %v, want %q", text, got, err, want)
		}
		for i := range got {
			if string(got[i]) != string(want[i]) {
				t.Fatalf("element %d of %q is %q, want %q", i, text, got[i], want[i])
			}
		}
	case splice.Object:
		var want map[string]json.RawMessage
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		members, err := splice.Members(text)
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string, len(members))
		for _, m := range members {
			got[m.Key] = string(m.Value) // the last one wins
		}
		if len(got) != len(want) {
			t.Fatalf("Members(%q) = %q, want %q", text, got, want)
		}
		for k := range want {
			if got[k] != string(want[k]) {
				t.Fatalf("member %q of %q is %q, want %q", k, text, got[k], want[k])
			}
		}
	case splice.Invalid, splice.Null, splice.Bool, splice.Number, splice.NonFinite, splice.String:
	}
}

func FuzzUnquote(f *testing.F) {
	for _, seed := range []string{`"a"`, `"\u00e9\ud83d\ude00"`, "\"\xff\"", `"\q"`, `""`, `"a" `} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want string
		err := json.Unmarshal(text, &want)
		if err == nil && splice.KindOf(text) != splice.String {
			return // null decodes into a string, too
		}
		got, ours := splice.Unquote(text)
		if (err == nil) != (ours == nil) || got != want {
			t.Fatalf("Unquote(%q) = %q, %v, encoding/json %q, %v", text, got, ours, want, err)
		}
	})
}

// rows is the reply of an embedding model: n rows of 384 numbers as Python prints them.
func rows(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	out := []byte(`{"predictions": [`)
	for i := range n {
		if i > 0 {
			out = append(out, ", "...)
		}
		out = append(out, '[')
		for j := range 384 {
			if j > 0 {
				out = append(out, ", "...)
			}
			out = strconv.AppendFloat(out, float64(float32(random.NormFloat64()/20)), 'g', -1, 64)
		}
		out = append(out, ']')
	}
	return append(out, "]}"...)
}

func BenchmarkWhole(b *testing.B) {
	texts := map[string][]byte{
		"1 row": rows(1), "1000 rows": rows(1000),
		"text":    []byte(`{"predictions": ["` + strings.Repeat("Lorem ipsum dolor sit amet. ", 4000) + `"]}`),
		"objects": []byte("[" + strings.Repeat(`{"label": "POSITIVE", "score": 0.99, "ok": true}, `, 2000) + "null]"),
	}
	for name, text := range texts {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := splice.Whole(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReaderRows(b *testing.B) {
	text := rows(1)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		r := splice.NewReader(text)
		err := r.Object(func(string) error {
			return r.Array(func(int) error {
				_, err := r.Value()
				return err
			})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNulled(b *testing.B) {
	text := append(append([]byte("[NaN,"), rows(10)...), ']')
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if len(splice.Nulled(text)) != len(text)+1 {
			b.Fatal("NaN was not replaced")
		}
	}
}

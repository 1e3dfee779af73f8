package splice_test

import (
	"testing"

	"headrace/internal/splice"
)

func TestSame(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		a, b string
		same bool
	}{
		"equal":                     {`[1, "a"]`, `[1, "a"]`, true},
		"blanks":                    {`[1, "a"]`, `[1,"a"]`, true},
		"floats in the last digits": {`[0.123456789, 0.9]`, `[0.123456798, 0.9]`, true},
		"a small component":         {`[0.0001, 0.9]`, `[0.00010015, 0.9]`, true},
		"a small component, more":   {`[0.0001, 0.9]`, `[0.000102, 0.9]`, false},
		"a number by itself":        {`0.0001`, `0.00010015`, false},
		"integers":                  {`[1000000000]`, `[1000000001]`, false},
		"an integer and a float":    {`[1]`, `[1.0]`, false},
		"texts by what they say":    {`"é"`, `"\u00e9"`, true},
		"texts":                     {`"a"`, `"b"`, false},
		"NaN":                       {`[NaN, 1.0]`, `[NaN,1.0]`, true},
		"NaN and a number":          {`[NaN]`, `[1.0]`, false},
		"order of keys":             {`{"a": 1, "b": 2}`, `{"b": 2, "a": 1}`, true},
		"keys":                      {`{"a": 1}`, `{"b": 1}`, false},
		"a key more":                {`{"a": 1}`, `{"a": 1, "b": 1}`, false},
		"lengths":                   {`[1]`, `[1, 1]`, false},
		"kinds":                     {`"1"`, `1`, false},
		"nested":                    {`[{"x": [0.5]}]`, `[{"x": [0.5000000001]}]`, true},
		"not JSON":                  {`[`, `[`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			same, why := splice.Same([]byte(tt.a), []byte(tt.b))
			if same != tt.same || same == (why != "") {
				t.Errorf("%v %q", same, why)
			}
			if back, _ := splice.Same([]byte(tt.b), []byte(tt.a)); back != same {
				t.Error("it depends on the order")
			}
		})
	}
}

func FuzzSame(f *testing.F) {
	f.Add([]byte(`[0.1, {"a": NaN}]`), []byte(`[0.1,{"a":NaN}]`))
	f.Add([]byte(`1e999`), []byte(`Infinity`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		there, _ := splice.Same(a, b)
		back, _ := splice.Same(b, a)
		if there != back {
			t.Fatalf("%q and %q: %v one way, %v the other", a, b, there, back)
		}
	})
}

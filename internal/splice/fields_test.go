package splice_test

import (
	"testing"

	"headrace/internal/splice"
)

// Of a key that is there twice the last value counts, in the place of the first one.
func TestFieldsHaveEachKeyOnce(t *testing.T) {
	t.Parallel()
	all := splice.FieldsOf([]byte(`{"a": 1, "b": "x\u0021", "a": [2], "c": null, "b": "y"}`))
	if len(all) != 3 || all[0].Key != "a" || string(all.Get("a")) != "[2]" || all.Text("b") != "y" || all.Text("a") != "" {
		t.Errorf("got %q", all)
	}
	if all.Get("c") != nil || all.Get("d") != nil {
		t.Error("null and nothing are told apart")
	}
	if left := all.Without("b"); len(left) != 2 || left[1].Key != "c" {
		t.Errorf("without b: %q", left)
	}
}

// What a value is not is nothing, so that its kind need not be asked for first.
func TestValuesOfAnotherKindAreNothing(t *testing.T) {
	t.Parallel()
	for _, text := range []string{``, ` `, `null`, `1`, `"x`, `[1`, `{"a"`, `{"a": 1}}`, `[1] 2`} {
		value := []byte(text)
		if splice.FieldsOf(value) != nil || splice.ListOf(value) != nil || splice.TextOf(value) != "" {
			t.Errorf("%q is something", text)
		}
	}
	if got := splice.ListOf([]byte(` [1, "a", [2]]`)); len(got) != 3 || string(got[2]) != "[2]" {
		t.Errorf("a list: %q", got)
	}
	for text, want := range map[string]int64{"7": 7, "7.0": 7, "-2": -2, "7.5": 0, `"7"`: 0, "": 0, "null": 0} {
		if got := splice.IntOf([]byte(text)); got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
}

// What is written is read back, with the bytes of raw values as they were.
func TestWrittenObjectIsRead(t *testing.T) {
	t.Parallel()
	var empty, o splice.ObjectWriter
	if got := string(empty.Bytes()); got != "{}" {
		t.Errorf("an empty object is %s", got)
	}
	o.AddText("a<b", `"quoted" & <i>`)
	o.Add("nothing", nil)
	o.Add("raw", []byte(`1.50`))
	o.AddInt("n", -3)
	o.Add("list", splice.ListWith([]byte(`1`), []byte(`"x"`)))
	const want = `{"a<b":"\"quoted\" & <i>","raw":1.50,"n":-3,"list":[1,"x"]}`
	if got := string(o.Bytes()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if all := splice.FieldsOf(o.Bytes()); len(all) != 4 || all.Text("a<b") != `"quoted" & <i>` || string(splice.ListWith()) != "[]" {
		t.Errorf("read back: %q", all)
	}
}

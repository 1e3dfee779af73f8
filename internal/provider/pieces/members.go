package pieces

import (
	"strings"

	"headrace/internal/fault"
	"headrace/internal/splice"
)

// done is the data of the event that ends a stream.
const done = "[DONE]"

// parsed reads the data of an event as an object. NaN and Infinity in it become null.
func parsed(data string) (raw []byte, fields []splice.Member, err error) {
	v, bad := splice.Whole([]byte(data))
	if bad != nil {
		return nil, nil, fault.New(fault.UpstreamBadResponse, "an event of the model server's stream is not JSON: %s", bad)
	}
	if v.Kind != splice.Object {
		return nil, nil, fault.New(fault.UpstreamBadResponse, "an event of the model server's stream is %s instead of an object", v.Kind)
	}
	raw = v.Raw
	if v.NonFinite {
		raw = splice.Nulled(raw)
	}
	return raw, members(raw), nil
}

// members are those of an object; nil for what is none.
func members(value []byte) []splice.Member {
	if splice.KindOf(value) != splice.Object {
		return nil
	}
	all, err := splice.Members(value)
	if err != nil {
		return nil
	}
	return all
}

// get is the value of a member, of several the last; nil when it is absent or null.
func get(from []splice.Member, key string) (value []byte) {
	for _, m := range from {
		if m.Key == key {
			value = m.Value
		}
	}
	if splice.KindOf(value) == splice.Null {
		return nil
	}
	return value
}

// elements are those of a list; nil for what is none.
func elements(value []byte) [][]byte {
	if splice.KindOf(value) != splice.Array {
		return nil
	}
	all, err := splice.Elements(value)
	if err != nil {
		return nil
	}
	return all
}

// text decodes a string; "" for what is none.
func text(value []byte) string {
	s, err := splice.Unquote(value)
	if err != nil {
		return ""
	}
	return s
}

// str is a string; nil for a value that is none.
func str(value []byte) []byte {
	if splice.KindOf(value) != splice.String {
		return nil
	}
	return value
}

// whole is a small number that is not negative; fallback for what is none.
func whole(value []byte, fallback int) int {
	if splice.KindOf(value) != splice.Number || len(value) > 6 {
		return fallback
	}
	n := 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return fallback
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// told is the error that a model server tells in its stream: an object, or a text as AgentServer has it.
func told(e []byte) *fault.Error {
	const most = 2000
	fields := members(e)
	why := text(get(fields, "message"))
	if why == "" {
		why = text(e)
	}
	if why == "" {
		why = string(e)
	}
	if len(why) > most {
		why = strings.ToValidUTF8(why[:most], "") + "..."
	}
	f := fault.New(fault.UpstreamError, "the model server ended its stream with an error: %s", why)
	f.Status = 500
	f.Kind, f.Reason = text(get(fields, "type")), text(get(fields, "code"))
	return f
}

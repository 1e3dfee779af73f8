package pieces

import (
	"strings"

	"headrace/internal/fault"
	"headrace/internal/splice"
)

// done is the data of the event that ends a stream.
const done = "[DONE]"

// parsed reads the data of an event as an object. NaN and Infinity in it become null.
func parsed(data string) (raw []byte, fields splice.Fields, err error) {
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
	return raw, splice.FieldsOf(raw), nil
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
	fields := splice.FieldsOf(e)
	why := splice.TextOf(fields.Get("message"))
	if why == "" {
		why = splice.TextOf(e)
	}
	if why == "" {
		why = string(e)
	}
	if len(why) > most {
		why = strings.ToValidUTF8(why[:most], "") + "..."
	}
	f := fault.New(fault.UpstreamError, "the model server ended its stream with an error: %s", why)
	f.Status = 500
	f.Kind, f.Reason = splice.TextOf(fields.Get("type")), splice.TextOf(fields.Get("code"))
	return f
}

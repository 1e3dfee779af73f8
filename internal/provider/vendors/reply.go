package vendors

import (
	"strings"
	"unicode/utf8"

	"headrace/internal/fault"
	"headrace/internal/provider"
	"headrace/internal/splice"
)

// Answer is the object that a good reply holds; NaN and Infinity in it are null. The error is a *fault.Error: of Failure for
// a status of 400 or more is the caller's to make; UpstreamBadResponse for what is no object in JSON.
func Answer(reply provider.Reply) (splice.Fields, []byte, error) {
	if reply.Status >= 300 {
		return nil, nil, fault.New(fault.UpstreamBadResponse,
			"the vendor of the model answered %d, and redirects are not followed; set the route's address to the one it points to", reply.Status)
	}
	media := strings.ToLower(reply.ContentType)
	if !strings.Contains(media, "application/json") && !strings.Contains(media, "text/plain") {
		return nil, nil, unsupported(reply.ContentType)
	}
	body := reply.Body
	v, err := splice.Whole(body)
	switch {
	case err != nil:
		return nil, nil, fault.New(fault.UpstreamBadResponse, "the vendor of the model answered with a body that is not JSON: %s", err)
	case !utf8.Valid(body):
		return nil, nil, fault.New(fault.UpstreamBadResponse, "the vendor of the model answered with a body that is not UTF-8")
	case v.Kind != splice.Object:
		return nil, nil, fault.New(fault.UpstreamBadResponse, "the vendor of the model answered with %s instead of an object", v.Kind)
	}
	if body = v.Raw; v.NonFinite {
		body = splice.Nulled(body)
	}
	top := splice.FieldsOf(body)
	if e := splice.FieldsOf(top.Get("error")); e != nil {
		return nil, nil, fault.New(fault.UpstreamBadResponse, "the vendor of the model answered 200 with an error: %s", shorten(e.Text("message")))
	}
	return top, body, nil
}

// unsupported is the error of a reply that is not JSON, in MLflow's words.
func unsupported(contentType string) error {
	if contentType == "" {
		contentType = "None"
	}
	return fault.New(fault.UpstreamBadResponse, "The returned data type from the route service is not supported. Received content type: %.200s", contentType)
}

// Lacks is the error of an answer without a list that it must have.
func Lacks(list string) error {
	return fault.New(fault.UpstreamBadResponse, "the answer of the model's vendor has no list %q; does the route's address speak the API of its provider?", list)
}

// With is an object with another value for one member, or none for nil; the other members keep their bytes and their order.
func With(all splice.Fields, key string, value []byte) []byte {
	var o splice.ObjectWriter
	for _, m := range all {
		if m.Key == key {
			o.Add(key, value)
			value = nil
			continue
		}
		o.Add(m.Key, m.Value)
	}
	o.Add(key, value)
	return o.Bytes()
}

package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"headrace/internal/splice"
)

// differences lists where a reply, or what was sent to the model server, is not as recorded.
func differences(o *outcome) []string {
	var differs []string
	note := func(format string, args ...any) { differs = append(differs, fmt.Sprintf(format, args...)) }
	want := o.e.Reply
	if o.got.status != want.Status {
		note("status")
	}
	if got := o.got.header.Get("Content-Type"); got != deref(want.ContentType) {
		note("content type %q, want %q", got, deref(want.ContentType))
	}
	if got := o.got.header.Get("Location"); got != want.Location {
		note("location %q, want %q", got, want.Location)
	}
	if got := o.got.header.Get("Allow"); got != want.Allow {
		note("allow %q, want %q", got, want.Allow)
	}
	if why := bodyDiffers(o); why != "" {
		note("body: %s", why)
	}
	if why := sentDiffers(o); why != "" {
		note("sent: %s", why)
	}
	return differs
}

func sentDiffers(o *outcome) string {
	if o.e.Sent == nil {
		if o.sent != nil && (o.e.Upstream == nil || o.e.Upstream.Fault == "") {
			return "the model server was asked, " + clip(o.sent)
		}
		return ""
	}
	if o.sent == nil {
		return "the model server was not asked"
	}
	if !sameJSON(o.sent, []byte(*o.e.Sent)) {
		return clip(o.sent) + ", want " + clip([]byte(*o.e.Sent))
	}
	return ""
}

func bodyDiffers(o *outcome) string {
	want := o.e.Reply
	switch {
	case o.e.Request.Method == http.MethodHead:
		return ""
	case want.Body == nil:
		if hash := sha256.Sum256(o.got.body); hex.EncodeToString(hash[:]) != want.Hash {
			return fmt.Sprintf("%d bytes of another hash, want %d", len(o.got.body), want.Length)
		}
		return ""
	case want.Truncated:
		if !strings.HasPrefix(string(o.got.body), *want.Body) {
			return "another beginning"
		}
		return ""
	case want.Status == http.StatusUnprocessableEntity:
		return issuesDiffer(o.got.body, []byte(*want.Body))
	case want.Status == http.StatusBadGateway:
		return detailDiffers(o.got.body, []byte(*want.Body))
	}
	if string(o.got.body) == *want.Body {
		return ""
	}
	got, other := decoded(o.got.body), decoded([]byte(*want.Body))
	if slices.Contains(o.e.Volatile, "created") {
		a, okA := got.(map[string]any)
		b, okB := other.(map[string]any)
		if !okA || !okB || a["created"] == nil {
			return "no created"
		}
		delete(a, "created")
		delete(b, "created")
	}
	if got == nil || !sameValue(got, other) {
		return "another value"
	}
	return ""
}

// issuesDiffer compares two lists of issues by place and kind, without the names of a union's branches.
func issuesDiffer(got, want []byte) string {
	type list struct {
		Detail []struct {
			Type string
			Loc  []any
			Msg  string
		}
	}
	var a, b list
	if json.Unmarshal(want, &b) != nil { // a text, such as the one about two messages
		if sameJSON(got, want) {
			return ""
		}
		return "another detail"
	}
	if err := json.Unmarshal(got, &a); err != nil {
		return err.Error()
	}
	places := func(l list) []string {
		var all []string
		for _, d := range l.Detail {
			if d.Msg == "" {
				all = append(all, "no message")
			}
			place := []string{d.Type}
			for _, step := range d.Loc {
				if s, ok := step.(string); ok && (strings.HasPrefix(s, "list[") || strings.HasPrefix(s, "literal[")) {
					step = "…"
				}
				place = append(place, fmt.Sprint(step))
			}
			all = append(all, strings.Join(place, "/"))
		}
		return all
	}
	if x, y := places(a), places(b); !slices.Equal(x, y) {
		return fmt.Sprintf("%v, want %v", x, y)
	}
	return ""
}

// detailDiffers compares two texts about a wrong answer by what clients match on.
func detailDiffers(got, want []byte) string {
	var a, b struct{ Detail any }
	if json.Unmarshal(got, &a) != nil || json.Unmarshal(want, &b) != nil {
		return "not JSON"
	}
	x, okX := a.Detail.(string)
	y, okY := b.Detail.(string)
	if !okX || !okY {
		if reflect.DeepEqual(a.Detail, b.Detail) {
			return ""
		}
		return "another detail"
	}
	for _, part := range []string{"ServingTextResponse\npredictions", "EmbeddingsResponse\npredictions", "1 validation error for"} {
		if strings.Contains(y, part) && !strings.Contains(x, part) {
			return "lacks " + part
		}
	}
	if strings.Contains(y, "validation error") {
		return ""
	}
	if x != y {
		return x + ", want " + y
	}
	return ""
}

func decoded(text []byte) any {
	var v any
	if json.Unmarshal(splice.Nulled(text), &v) != nil {
		return nil
	}
	return v
}

func sameJSON(a, b []byte) bool {
	x, y := decoded(a), decoded(b)
	return (x != nil || string(a) == string(b)) && sameValue(x, y)
}

// sameValue compares numbers by value.
func sameValue(a, b any) bool {
	switch a := a.(type) {
	case map[string]any:
		other, ok := b.(map[string]any)
		if !ok || len(a) != len(other) {
			return false
		}
		for k, v := range a {
			w, ok := other[k]
			if !ok || !sameValue(v, w) {
				return false
			}
		}
		return true
	case []any:
		other, ok := b.([]any)
		return ok && slices.EqualFunc(a, other, sameValue)
	case float64:
		other, ok := b.(float64)
		return ok && a == other
	}
	return reflect.DeepEqual(a, b)
}

package inference_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"headrace/internal/inference"
)

func TestSecretIsHiddenHoweverItIsPrinted(t *testing.T) {
	t.Parallel()
	const text = "sk-s3cret"
	v := &inference.Vendor{Key: text}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", v.Key)
		fmt.Fprintf(&out, verb+"\n", *v)
	}
	fmt.Fprintln(&out, v.Key, *v, &inference.Route{Vendor: v})
	if err := json.NewEncoder(&out).Encode(v); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "key", v.Key, "vendor", *v)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", v.Key, "vendor", *v)
	if strings.Contains(out.String(), "s3cret") || strings.Contains(out.String(), fmt.Sprintf("%x", text)) || string(v.Key) != text {
		t.Errorf("it is shown:\n%s", out.String())
	}
}

package link_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"headrace/broker/link"
)

func TestDialValidates(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	for name, dial := range map[string]link.Dial{
		"nothing":     {},
		"credentials": {URL: "nats://h:4222", Credentials: missing},
		"tls_ca":      {URL: "nats://h:4222", TLSCA: missing},
	} {
		if err := dial.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		} else if dial.URL != "" && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := (link.Dial{URL: "nats://h:4222"}).Validate(); err != nil {
		t.Errorf("a URL alone: %v", err)
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for urls, want := range map[string]string{
		"nats://h:4222":                           "nats://h:4222",
		"nats://u:p@h:4222,tls://tok@i:4222":      "nats://h:4222,tls://i:4222",
		"nats://u:p@h:4222,nats://[::1]:4222,h:1": "nats://h:4222,nats://[::1]:4222,h:1",
	} {
		if got := link.Redact(urls); got != want {
			t.Errorf("%s is shown as %s, want %s", urls, got, want)
		}
	}
}

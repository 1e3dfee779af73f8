package cli_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// The commands send the admin token of the environment, and none when it has none.
//
//nolint:paralleltest // it sets the environment
func TestAdminTokenIsSent(t *testing.T) {
	for token, want := range map[string]string{"a token that is long enough": "Bearer a token that is long enough", "": ""} {
		t.Setenv("HEADRACE_ADMIN_TOKEN", token)
		sent := "nothing was asked"
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			sent = r.Header.Get("Authorization")
			_, _ = w.Write([]byte(`{"object":"list","data":[],"has_more":false}`))
		}))
		if code, out, errs := run(t.Context(), "jobs", "ls", "--url", s.URL); code != 0 || sent != want {
			t.Errorf("%d, sent %q: %s%s", code, sent, out, errs)
		}
		s.Close()
	}
}

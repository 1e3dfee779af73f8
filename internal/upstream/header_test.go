package upstream_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/upstream"
)

// The headers of a call are sent where the route has none of the name, and its path and query join those of the address.
func TestHeadersAndQueryOfACall(t *testing.T) {
	t.Parallel()
	var uri string
	var header http.Header
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { uri, header = r.RequestURI, r.Header }))
	t.Cleanup(s.Close)
	for base, want := range map[string]string{
		"/v1":                "/v1/deployments/my%20dep/%C3%B6?api-version=v",
		"/v1/?a=1&x=":        "/v1/deployments/my%20dep/%C3%B6?a=1&x=&api-version=v",
		"/team%20x/a%2Fb/v1": "/team%20x/a%2Fb/v1/deployments/my%20dep/%C3%B6?api-version=v",
	} {
		c := newClient(t, upstream.Config{URLs: []string{s.URL + base}, Headers: map[string]string{"x-own": "route"}})
		_, release, err := c.Do(t.Context(), provider.Call{
			Path: "deployments/my dep/ö", Query: "api-version=v", ContentType: "application/json", Body: []byte("{}"),
			Header: map[string]inference.Secret{"Authorization": "Bearer s3cret", "X-Own": "call"},
		}, plenty)
		if err != nil {
			t.Fatal(err)
		}
		release()
		if uri != want || header.Get("Authorization") != "Bearer s3cret" || header.Get("X-Own") != "route" || len(header.Values("X-Own")) != 1 {
			t.Errorf("%s: %s, %v", base, uri, header)
		}
	}
}

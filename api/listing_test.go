package api_test

import (
	"net/http"
	"strings"
	"testing"

	"headrace/api"
	"headrace/internal/inference"
)

// A query is read as Python reads it: what net/url would leave out is a token all the same, and a wrong one.
func TestPageTokenInOddQueries(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{}, func(_ *api.Config, d *api.Deps) {
		d.Table = inference.NewTable(
			&inference.Route{Name: "first", Type: inference.Chat, Family: inference.Endpoints},
			&inference.Route{Name: "second", Type: inference.Chat, Family: inference.Endpoints},
		)
	})
	const one = "eyJpbmRleCI6IDF9" // {"index": 1}
	for query, second := range map[string]bool{
		"page_token=" + one: true, "page_token=x&page_token=" + one: true, "a;b&page_token=" + one: true, "%zz=1&page_token=" + one: true,
		"page%5Ftoken=" + one: true, "page_token=eyJp%62mRleCI6+IDF9%": true, "page_token=%zeyJpbmRleCI6IDF9": false,
		"page_token=" + one + ";x=1": false, "page_token=a%zz": false, "page_token=%": false, "page_token": false, "page_token=": false,
		"page_token=%C3%A9" + one: false,
	} {
		w := do(t, s, http.MethodGet, "/api/2.0/endpoints/?"+query, "")
		if second {
			if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "first") || !strings.Contains(w.Body.String(), "second") {
				t.Errorf("%s: %d %s, want the second entry alone", query, w.Code, w.Body)
			}
			continue
		}
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "page_token") {
			t.Errorf("%s: %d %s, want 422", query, w.Code, w.Body)
		}
	}
	for _, query := range []string{"", "&&", "x=page_token", "Page_token=x"} {
		if w := do(t, s, http.MethodGet, "/api/2.0/endpoints/?"+query, ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "first") {
			t.Errorf("%q: %d %s, want the first page", query, w.Code, w.Body)
		}
	}
}

// Bytes of a name that are no UTF-8 are shown as Python decodes them.
func TestNamesThatAreNoText(t *testing.T) {
	t.Parallel()
	s := newServer(t, &fakeBroker{})
	for escaped, shown := range map[string]string{
		"%FF": "\ufffd", "%FF%FE": "\ufffd\ufffd", "%F0%9F": "\ufffd", "a%F0%9F%98b": "a\ufffdb", "%E2%82%E2%82%AC": "\ufffd€", "%80%80": "\ufffd\ufffd",
		"%ED%A0%80": "\ufffd\ufffd\ufffd", "%F4%90%80": "\ufffd\ufffd\ufffd", "%C0%80": "\ufffd\ufffd", "%EF%BF%BD%C3": "\ufffd\ufffd", "%C3%A9": "é",
	} {
		want := `{"detail":"The route '` + shown + `' is not present or active on the server. Please verify the route name."}`
		if got := do(t, s, http.MethodGet, "/api/2.0/gateway/routes/"+escaped, "").Body.String(); got != want {
			t.Errorf("%s: %s, want %s", escaped, got, want)
		}
	}
}

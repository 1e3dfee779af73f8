package dialect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"headrace/api/dialect"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// written is what a function puts into an output.
func written(t *testing.T, write func(out *dialect.Output)) string {
	t.Helper()
	var out dialect.Output
	write(&out)
	length := out.Len()
	var b bytes.Buffer
	if n, err := out.WriteTo(&b); err != nil || int(n) != length || b.Len() != length {
		t.Errorf("%d bytes were announced, %d written (%v)", length, n, err)
	}
	return b.String()
}

// What MLflow's clients read of a route: limit came with endpoints, and what is not known is null.
func TestEntriesAreShownAsMLflowShowsThem(t *testing.T) {
	t.Parallel()
	limit := &inference.Limit{Calls: 2, Period: "minute"}
	keyed := &inference.Limit{Calls: 1, Key: "k", Period: "hour"}
	for _, c := range []struct {
		l    dialect.Listing
		r    inference.Route
		want string
	}{
		{
			dialect.RoutesListing(),
			inference.Route{Name: "a", Type: inference.Chat, Family: inference.Routes, Provider: "p", Model: "m", Limit: limit},
			`{"name":"a","route_type":"llm/v1/chat","model":{"name":"m","provider":"p"},"route_url":"/gateway/a/invocations"}`,
		},
		{
			dialect.RoutesListing(),
			inference.Route{Name: "a", Type: inference.Raw, Family: inference.Endpoints, Provider: "p", Limit: limit},
			`{"name":"a","route_type":"mlflow/v1/invocations","model":{"name":null,"provider":"p"},"route_url":"/gateway/a/invocations","limit":{"calls":2,"key":null,"renewal_period":"minute"}}`,
		},
		{
			dialect.EndpointsListing(),
			inference.Route{Name: `"ä`, Type: inference.Embeddings, Family: inference.Endpoints, Provider: "p", Model: "m", Limit: keyed},
			`{"name":"\"ä","endpoint_type":"llm/v1/embeddings","model":{"name":"m","provider":"p"},"endpoint_url":"/gateway/\"ä/invocations","limit":{"calls":1,"key":"k","renewal_period":"hour"}}`,
		},
		{
			dialect.EndpointsListing(),
			inference.Route{Name: "a", Type: inference.Completions, Family: inference.Routes, Provider: "p", Model: "m"},
			`{"name":"a","endpoint_type":"llm/v1/completions","model":{"name":"m","provider":"p"},"endpoint_url":"/gateway/a/invocations","limit":null}`,
		},
	} {
		if got := written(t, func(out *dialect.Output) { c.l.Entry(out, &c.r) }); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	split := &inference.Split{Name: "s", Type: inference.Chat, Destinations: []inference.Destination{{Route: "a", Percent: 80}, {Route: "b", Percent: 20}}}
	want := `{"name":"s","task_type":"llm/v1/chat","destinations":[{"name":"a","traffic_percentage":80},{"name":"b","traffic_percentage":20}],"routing_strategy":"TRAFFIC_SPLIT"}`
	if got := written(t, func(out *dialect.Output) { dialect.AppendTrafficRoute(out, split) }); got != want {
		t.Error(got)
	}
}

// A long list is read page by page, each entry once, by the tokens that the pages name.
func TestPagesHoldEachEntryOnce(t *testing.T) {
	t.Parallel()
	var routes []*inference.Route
	for i := range 6001 {
		routes = append(routes, &inference.Route{Name: fmt.Sprintf("r%05d", i), Type: inference.Chat, Family: inference.Endpoints, Provider: "p"})
	}
	table := inference.NewTable(routes...)
	var names []string
	query, pages := "", 0
	for {
		from, err := dialect.PageStart(query)
		if err != nil {
			t.Fatal(err)
		}
		var page struct {
			Endpoints []struct{ Name string }
			Next      *string `json:"next_page_token"`
		}
		if err := json.Unmarshal([]byte(written(t, func(out *dialect.Output) { dialect.EndpointsListing().Page(out, table, from) })), &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Endpoints {
			names = append(names, e.Name)
		}
		if pages++; page.Next == nil {
			break
		}
		query = "page_token=" + url.QueryEscape(*page.Next)
	}
	if pages != 3 || len(names) != 6001 || !slices.IsSorted(names) || len(slices.Compact(names)) != 6001 {
		t.Errorf("%d names on %d pages", len(names), pages)
	}
	if got := written(t, func(out *dialect.Output) { dialect.RoutesListing().Page(out, table, 1<<30) }); got != `{"routes":[],"next_page_token":null}` {
		t.Errorf("behind the end: %.100s", got)
	}
}

// A query is read as Python reads it.
func TestPageTokensInOddQueries(t *testing.T) {
	t.Parallel()
	const one = "eyJpbmRleCI6IDF9" // {"index": 1}
	for query, want := range map[string]int{
		"": 0, "&&": 0, "x=page_token": 0, "Page_token=x": 0, "page_token=" + one: 1, "page_token=x&page_token=" + one: 1, "a;b&page_token=" + one: 1,
		"%zz=1&page_token=" + one: 1, "page%5Ftoken=" + one: 1, "page_token=eyJp%62mRleCI6+IDF9%": 1,
		"page_token=%zeyJpbmRleCI6IDF9": -1, "page_token=" + one + ";x=1": -1, "page_token=a%zz": -1, "page_token=%": -1, "page_token": -1, "page_token=": -1,
	} {
		got, err := dialect.PageStart(query)
		if f := fault.From(err); want < 0 && (f == nil || f.Code != fault.Invalid || f.Param != "page_token") || want >= 0 && (err != nil || got != want) {
			t.Errorf("%q: %d (%v)", query, got, err)
		}
	}
}

// The index in a token is what Python's int() makes of it.
func TestIndicesAreReadAsPythonDoes(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int{
		"0": 0, "7": 7, "true": 1, "false": 0, "2.9": 2, "-0.5": 0, "1e3": 1000, "1e300": 1<<31 - 1, "99999999999999999999": 1<<31 - 1, `"12"`: 12, `" 12 "`: 12, `"1_000"`: 1000,
		"-1": -1, "-1.5": -1, "null": -1, "[]": -1, "{}": -1, `"x"`: -1, `"1.0"`: -1, `"-3"`: -1, "NaN": -1,
	} {
		token := encoded(`{"index": ` + value + `}`)
		if got, ok := dialect.ReadPageToken(token); ok != (want >= 0) || ok && got != want {
			t.Errorf("%s: %d %t, want %d", value, got, ok, want)
		}
	}
	for _, text := range []string{"[]", "{}", `{"inde": 1}`, "", "\xff", `{"index": 1`} {
		if got, ok := dialect.ReadPageToken(encoded(text)); ok {
			t.Errorf("%s: %d", text, got)
		}
	}
}

// Large values are written from where they lie, and an output serves again after Reset.
func TestOutputsAreUsedAgain(t *testing.T) {
	t.Parallel()
	all := dialect.New()
	large := []byte("[" + strings.Repeat("1.50,", dialect.Spliced) + "2.5]")
	route := &inference.Route{Name: "r", Type: inference.Embeddings, Model: "m"}
	a, err := asked(all.OpenAI, route, `{"model":"r","input":["a","b"]}`)
	if err != nil {
		t.Fatal(err)
	}
	var out dialect.Output
	for _, items := range [][][]byte{{large, []byte("[1]")}, {[]byte("[2]"), []byte("[3]")}, {large, large}} {
		if err := all.OpenAI.Answer(&out, a, &inference.Result{Items: items}); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := out.WriteTo(&b); err != nil || b.Len() != out.Len() || !json.Valid(b.Bytes()) || bytes.Count(b.Bytes(), items[0]) < 1 || !bytes.Contains(b.Bytes(), items[1]) {
			t.Errorf("%d bytes of %d (%v)", b.Len(), out.Len(), err)
		}
		var again bytes.Buffer
		if _, err := out.WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), b.Bytes()) {
			t.Errorf("written again it has %d bytes (%v)", again.Len(), err)
		}
		if _, err := out.WriteTo(broken{}); err == nil {
			t.Error("a caller that has gone was not noticed")
		}
		if out.Reset(); out.Len() != 0 {
			t.Errorf("%d bytes are left", out.Len())
		}
	}
}

// broken is a connection that has gone.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, bytes.ErrTooLarge }

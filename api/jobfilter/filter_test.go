package jobfilter_test

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"headrace/api/jobfilter"
	"headrace/internal/fault"
	"headrace/internal/job"
)

func TestQueriesBecomeFilters(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for query, want := range map[string]job.Filter{
		"":                                    {},
		"status=queued":                       {States: []job.State{job.Queued}},
		"status=queued,%20running":            {States: []job.State{job.Queued, job.Running}},
		"status=failed&status=expired":        {States: []job.State{job.Failed, job.Expired}},
		"dead=true":                           {States: []job.State{job.Failed}},
		"route=a&provider=p":                  {Route: "a", Provider: "p"},
		"priority=batch":                      {Priority: job.Batch},
		"tag=a&tag=b":                         {Tags: []string{"a", "b"}},
		"metadata.order=4711&metadata.x=y":    {Metadata: map[string]string{"order": "4711", "x": "y"}},
		"error_code=upstream_timeout":         {ErrorCode: "upstream_timeout"},
		"created_after=2026-01-31T12:00:00Z":  {CreatedAfter: at},
		"created_before=2026-01-31T12:00:00Z": {CreatedBefore: at},
		"finished_after=1769860800":           {FinishedAfter: at},
		"finished_before=1769860800.0":        {FinishedBefore: at},
		"limit=1":                             {Limit: 1},
		"limit=1000000":                       {Limit: 1000000}, // the desk bounds it
		"after=my-own-id":                     {After: "my-own-id"},
		"before=my-own-id":                    {Before: "my-own-id"},
	} {
		if want.Limit == 0 {
			want.Limit = jobfilter.DefaultPage
		}
		got, err := jobfilter.Read(query, jobfilter.Params())
		for _, moment := range []*time.Time{&got.CreatedAfter, &got.CreatedBefore, &got.FinishedAfter, &got.FinishedBefore} {
			*moment = moment.UTC()
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v (%v)", query, got, want, err)
		}
	}
}

// One filter less would mean more jobs, so nothing of a query is left out: each error names the parameter and what to write.
func TestWrongQueriesAreRefused(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]struct{ param, says string }{
		"x=1":                          {"x", `there is no parameter "x"; there are status, route`},
		"%FF=1":                        {"\xff", "there is no parameter \"\ufffd\""},
		"route=a&route=b":              {"route", "route is given 2 times; give it once"},
		"route=":                       {"route", "route is empty; leave it out"},
		"tag=a&tag=":                   {"tag", "tag is empty"},
		"status=lost":                  {"status", `there is no status "lost"; there are scheduled, queued, running`},
		"status=erased":                {"status", `there is no status "erased"`},
		"status=queued,":               {"status", `there is no status ""`},
		"dead=false":                   {"dead", "dead can only be true"},
		"priority=high":                {"priority", "interactive, standard or batch"},
		"error_code=teapot":            {"error_code", "docs/errors.md"},
		"created_after=soon":           {"created_after", "2026-01-31T12:00:00Z"},
		"created_before=-1":            {"created_before", "seconds since 1970"},
		"finished_after=NaN":           {"finished_after", "seconds since 1970"},
		"finished_before=1e11":         {"finished_before", "seconds since 1970"},
		"limit=0":                      {"limit", "from 1 on"},
		"limit=many":                   {"limit", "from 1 on"},
		"after=%20":                    {"after", "last_id or first_id"},
		"before=a/b":                   {"before", "last_id or first_id"},
		"after=a&before=b":             {"before", "exclude each other"},
		"a;b":                          {"", "the query cannot be read"},
		"route=%zz":                    {"", "%XX for what is special"},
		"metadata.a=1&metadata.a=2":    {"metadata.a", "given 2 times"},
		strings.Repeat("p", 500) + "=": {strings.Repeat("p", 500), "there is no parameter"},
	} {
		_, err := jobfilter.Read(query, jobfilter.Params())
		if f := fault.From(err); err == nil || f.Code != fault.Invalid || f.Param != want.param || !strings.Contains(f.Message, want.says) || len(f.Message) > 600 {
			t.Errorf("%s: %v, want %+v", query, err, want)
		}
	}
}

func TestParametersThatAListDoesNotHaveAreRefused(t *testing.T) {
	t.Parallel()
	if _, err := jobfilter.Read("status=failed", jobfilter.Params("status", "dead")); err == nil || strings.Contains(err.Error(), "there are status") {
		t.Error(err)
	}
}

// A query that is read says all that it said: each of its parameters is in the filter.
func FuzzRead(f *testing.F) {
	for _, query := range []string{"", "status=queued&limit=3", "metadata.a=b&tag=c&after=x", "created_after=1e10", "a;b", "%zz"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		filter, err := jobfilter.Read(raw, jobfilter.Params())
		if err != nil {
			if fault.CodeOf(err) != fault.Invalid {
				t.Errorf("%v", err)
			}
			return
		}
		query, err := url.ParseQuery(raw)
		if err != nil {
			t.Fatalf("%q was read: %v", raw, err)
		}
		if filter.Limit < 1 || len(filter.Tags) != len(query["tag"]) || query.Has("status") && len(filter.States) == 0 ||
			filter.Route != query.Get("route") || string(filter.After) != query.Get("after") || query.Has("created_after") == filter.CreatedAfter.IsZero() {
			t.Errorf("%q: %+v", raw, filter)
		}
	})
}

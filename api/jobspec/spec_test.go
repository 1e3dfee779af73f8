package jobspec_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"headrace/api/jobspec"
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/job"
)

func now() time.Time { return time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC) }

func limits() jobspec.Limits { return jobspec.Limits{}.WithDefaults() }

func route() *inference.Route { return &inference.Route{Name: "r", Timeout: time.Minute} }

// header reads "Name: value" lines.
func header(lines ...string) http.Header {
	h := make(http.Header)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		h.Add(name, strings.TrimSpace(value))
	}
	return h
}

// wrong compares an error with the field that it must be about and words that its text must have.
func wrong(t *testing.T, what string, err error, param string, says ...string) {
	t.Helper()
	f := fault.From(err)
	if err == nil || f.Code != fault.Invalid || f.Param != param {
		t.Errorf("%s: %v, want an error about %q", what, err, param)
		return
	}
	for _, words := range says {
		if !strings.Contains(f.Message, words) {
			t.Errorf("%s: %q does not say %q", what, f.Message, words)
		}
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	t.Parallel()
	l := jobspec.Limits{Deadline: 30 * 24 * time.Hour, ResultTTL: 8 * 24 * time.Hour}.WithDefaults()
	if l.MaxDeadline != l.Deadline || l.MaxTTL != l.ResultTTL || l.MaxAttempts != 4 || l.Durability != "power" || l.MaxWait != time.Minute || l.KeyLife != 24*time.Hour {
		t.Errorf("%+v", l)
	}
	e, err := jobspec.ReadEnvelope([]byte(`{"route":"r","input":{"input":"x"}}`))
	if err != nil {
		t.Fatal(err)
	}
	o, err := e.Checked(limits(), route(), now())
	want := jobspec.Options{Total: 24 * time.Hour, ResultTTL: 24 * time.Hour, Retry: job.Retry{MaxAttempts: 4}, Store: job.StoreBoth}
	if err != nil || !reflect.DeepEqual(o, want) || o.Ranked() != job.Standard {
		t.Errorf("%+v, want %+v (%v)", o, want, err)
	}
	if o.Awaited = true; o.Ranked() != job.Interactive {
		t.Errorf("a job that a caller waits for is %s", o.Ranked())
	}
	if o.Priority = job.Batch; o.Ranked() != job.Batch {
		t.Errorf("a batch job that a caller waits for is %s", o.Ranked())
	}
}

// What the envelope says and what headers say come to the same options.
func TestEnvelopesAndHeadersSayTheSame(t *testing.T) {
	t.Parallel()
	e, err := jobspec.ReadEnvelope([]byte(`{"route":"r","input":1,"priority":"batch","run_at":"2026-01-31T13:00:00Z","timeouts":{"queue":"1m","attempt":10.5,"total":"2h"},
		"retry":{"max_attempts":2,"max_elapsed":"90s"},"result_ttl":60,"store":"none","tags":["a","b"],"deadline":null}`))
	if err != nil {
		t.Fatal(err)
	}
	inBody, err := e.Checked(limits(), route(), now())
	if err != nil {
		t.Fatal(err)
	}
	h := header("Job-Priority: batch", "Job-Run-At: 2026-01-31T13:00:00Z", "Job-Queue-Timeout: 60", "Job-Attempt-Timeout: 10.5s", "Job-Total-Timeout: 7200",
		"Job-Max-Attempts: 2", "Job-Max-Elapsed: 1m30s", "Job-Result-TTL: 1m", "Job-Store: none", "Job-Tags: a, ,b")
	e, err = jobspec.FromHeaders(h)
	if err != nil {
		t.Fatal(err)
	}
	inHeaders, err := e.Options(limits(), route(), now())
	if err != nil || !reflect.DeepEqual(inBody, inHeaders) {
		t.Errorf("%+v\n%+v (%v)", inBody, inHeaders, err)
	}
	if inBody.Total != 3*time.Hour || inBody.Retry != (job.Retry{MaxAttempts: 2, MaxElapsed: 90 * time.Second}) {
		t.Errorf("%+v", inBody)
	}
	headed, err := jobspec.ReadHeaded([]byte(`{"route":"r","input":1,"priority":"interactive"}`), h)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := headed.Checked(limits(), route(), now()); err != nil || o.Priority != job.Interactive || o.Store != job.StoreNone {
		t.Errorf("an option that both have is the envelope's: %+v (%v)", o, err)
	}
}

// Each option that is wrong is named, with what it takes.
func TestWrongOptionsAreNamed(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(`"x",`, jobspec.MaxTags) + `"x"`
	pairs := make(map[string]string)
	for i := range jobspec.MaxMetadata + 1 {
		pairs[strconv.Itoa(i)] = ""
	}
	metadata, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	for options, want := range map[string]struct{ param, says string }{
		`"priority":"high"`:                                        {"priority", "interactive, standard or batch"},
		`"store":"all"`:                                            {"store", "both, inputs, outputs or none"},
		`"result_ttl":"1ms"`:                                       {"result_ttl", "between 1s and 168h"},
		`"result_ttl":"169h"`:                                      {"result_ttl", "between"},
		`"retry":{"max_attempts":0}`:                               {"retry.max_attempts", "between 1 and 4"},
		`"retry":{"max_attempts":5}`:                               {"retry.max_attempts", "between 1 and 4"},
		`"retry":{"max_attempts":"2"}`:                             {"retry.max_attempts", "a whole number, not a JSON string"},
		`"retry":{"max_elapsed":"x"}`:                              {"retry.max_elapsed", "a number of seconds"},
		`"timeouts":{"attempt":"2m"}`:                              {"timeouts.attempt", `limit of 1m0s of route "r"`},
		`"timeouts":{"attempt":0}`:                                 {"timeouts.attempt", "more than 0"},
		`"timeouts":{"queue":-1}`:                                  {"timeouts.queue", "more than 0"},
		`"timeouts":{"queue":[]}`:                                  {"timeouts.queue", "number of seconds"},
		`"timeouts":{"total":"8000h"}`:                             {"timeouts.total", "limit of 168h"},
		`"timeouts":1`:                                             {"timeouts", "an object, not a JSON number"},
		`"timeouts":{"total":1e300}`:                               {"timeouts.total", "too large"},
		`"timeouts":{"total":1000000000.0}`:                        {"timeouts.total", "too large"},
		`"timeouts":{"total":"NaN"}`:                               {"timeouts.total", "number of seconds"},
		`"deadline":"soon"`:                                        {"deadline", "2026-01-31T12:00:00Z"},
		`"deadline":5`:                                             {"deadline", "2026-01-31T12:00:00Z"},
		`"deadline":"2026-01-31T12:00:00Z"`:                        {"deadline", "not after the earliest start"},
		`"deadline":"2027-01-31T12:00:00Z"`:                        {"deadline", "limit of 168h"},
		`"deadline":"2026-02-01T12:00:00Z","timeouts":{"total":5}`: {"deadline", "say the same"},
		`"run_at":"2027-03-31T12:00:00Z"`:                          {"run_at", "more than a year"},
		`"run_at":"31.1.2026"`:                                     {"run_at", "2026-01-31T12:00:00Z"},
		`"tags":[` + many + `]`:                                    {"tags", "17 entries; 16 are allowed"},
		`"tags":[""]`:                                              {"tags", "1 to 128 bytes"},
		`"tags":"x"`:                                               {"tags", "a list of strings, not a JSON string"},
		`"tags":["` + strings.Repeat("x", 129) + `"]`:              {"tags", "1 to 128 bytes"},
		`"metadata":` + string(metadata):                           {"metadata", "17 entries; 16 are allowed"},
		`"metadata":{"x":"` + strings.Repeat("x", 513) + `"}`:      {"metadata", "a key over 128 or a value over 512"},
		`"metadata":{"x":1}`:                                       {"metadata", "a string, not a JSON number"},
	} {
		e, err := jobspec.ReadEnvelope([]byte(`{"route":"r","input":1,` + options + `}`))
		if err == nil {
			_, err = e.Checked(limits(), route(), now())
		}
		wrong(t, options, err, want.param, want.says)
	}
}

func TestBodiesThatAreNoEnvelope(t *testing.T) {
	t.Parallel()
	for body, says := range map[string]string{
		"":                          "the body is missing; write {",
		" \n":                       "the body is missing",
		"[]":                        "a job is an object, not a JSON array",
		`{"rout":"r"}`:              `unknown field "rout"`,
		`{"route":"r"} {}`:          "something follows the object",
		`{"route":"r"`:              "the body is not a job: unexpected EOF",
		`{"route":"r","input":NaN}`: "the body is not a job",
	} {
		_, err := jobspec.ReadEnvelope([]byte(body))
		wrong(t, body, err, "", says)
	}
	_, err := jobspec.ReadEnvelope([]byte(`{"route":5}`))
	wrong(t, "a number for a route", err, "route", "a string, not a JSON number")
}

// An error about an option names the header that the option came in, also beside an envelope.
func TestWrongHeadersAreNamed(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]struct{ param, says string }{
		"Job-Priority: high":                    {"Job-Priority", "interactive, standard or batch"},
		"Job-Store: all":                        {"Job-Store", "both, inputs"},
		"Job-Run-At: soon":                      {"Job-Run-At", "2026-01-31T12:00:00Z"},
		"Job-Deadline: 2020-01-01T00:00:00Z":    {"Job-Deadline", "not after the earliest start"},
		"Job-Queue-Timeout: x":                  {"Job-Queue-Timeout", "number of seconds"},
		"Job-Attempt-Timeout: 1h":               {"Job-Attempt-Timeout", "limit of 1m0s"},
		"Job-Total-Timeout: 9000h":              {"Job-Total-Timeout", "limit of 168h"},
		"Job-Result-TTL: 1ms":                   {"Job-Result-TTL", "between 1s"},
		"Job-Max-Attempts: 9":                   {"Job-Max-Attempts", "between 1 and 4"},
		"Job-Max-Elapsed: 0":                    {"Job-Max-Elapsed", "more than 0"},
		"Job-Tags: " + strings.Repeat("x", 129): {"Job-Tags", "1 to 128 bytes"},
	} {
		e, err := jobspec.FromHeaders(header(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		_, err = e.Options(limits(), route(), now())
		wrong(t, line, jobspec.InHeaders(err), want.param, want.says)
		headed, err := jobspec.ReadHeaded([]byte(`{"route":"r","input":1}`), header(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		_, err = headed.Checked(limits(), route(), now())
		wrong(t, line+" beside an envelope", err, want.param, want.says)
	}
	for line, says := range map[string]string{
		"Job-Max-Attempts: two": "a whole number of at least 1",
		"Job-Tags: , ":          "left out, or given a value",
		"Job-Unknown: \xff":     "UTF-8",
	} {
		name, _, _ := strings.Cut(line, ":")
		_, err := jobspec.FromHeaders(header(line))
		wrong(t, line, err, name, says)
		_, err = jobspec.ReadHeaded([]byte(`{}`), header(line))
		wrong(t, line, err, name, says)
	}
	if plain := http.ErrBodyNotAllowed; jobspec.InHeaders(plain) != plain { //nolint:errorlint // the very same
		t.Error("another error was changed")
	}
}

// A header that is wrong by itself is refused also where the envelope has the option, and a right one is not blamed for it.
func TestAHeaderBesideAnEnvelopeIsChecked(t *testing.T) {
	t.Parallel()
	e, err := jobspec.ReadHeaded([]byte(`{"route":"r","input":1,"priority":"batch"}`), header("Job-Priority: high"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Checked(limits(), route(), now())
	wrong(t, "a wrong header", err, "Job-Priority")
	e, err = jobspec.ReadHeaded([]byte(`{"route":"r","input":1,"store":"all"}`), header("Job-Priority: batch"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Checked(limits(), route(), now())
	wrong(t, "a wrong envelope", err, "store")
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		p       jobspec.Preference
		applied string
	}{
		"":                                {},
		"respond-async":                   {jobspec.Preference{Async: true}, "respond-async"},
		"Respond-Async, wait=10":          {jobspec.Preference{Async: true, Asked: true, Wait: 10 * time.Second}, "respond-async, wait=10"},
		`wait="5"; x=y, wait=9`:           {jobspec.Preference{Asked: true, Wait: 5 * time.Second}, "wait=5"},
		"wait=0":                          {jobspec.Preference{Asked: true}, "wait=0"},
		"wait=99999999999999999999":       {jobspec.Preference{Asked: true, Wait: time.Minute}, "wait=60"},
		"return=minimal, handling=strict": {jobspec.Preference{Idle: []string{"Prefer: return", "Prefer: handling"}}, ""},
		"a b, ,":                          {jobspec.Preference{Idle: []string{"Prefer"}}, ""},
	} {
		p, err := jobspec.PreferenceOf(header("Prefer: "+text), time.Minute)
		if err != nil || !reflect.DeepEqual(p, want.p) || p.Applied() != want.applied || p.Durable() != (p.Async || p.Asked) {
			t.Errorf("%s: %+v, applied %q (%v)", text, p, p.Applied(), err)
		}
	}
	for _, text := range []string{"wait", "wait=x", "wait=-1", "wait=1.5", "wait=-99999999999999999999"} {
		_, err := jobspec.PreferenceOf(header("Prefer: "+text), time.Minute)
		wrong(t, text, err, "Prefer", "a whole number of seconds")
	}
}

func TestWaitsInQueries(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"0": 0, "1.5": 1500 * time.Millisecond, "30s": 30 * time.Second, "1e300": time.Minute, "61": time.Minute} {
		if got, err := jobspec.ReadWait(text, time.Minute); got != want || err != nil {
			t.Errorf("%s: %v (%v)", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "NaN", "1m"} {
		_, err := jobspec.ReadWait(text, time.Minute)
		wrong(t, text, err, "wait", "?wait=30")
	}
}

// Headers that only jobs know have no effect on a call, nor those that are no option on a job; the reply names them.
func TestHeadersWithoutEffectAreNamed(t *testing.T) {
	t.Parallel()
	h := header("Job-Store: none", "Job-Result-TTL: 5", "Job-Colour: blue", "Idempotency-Key: k", "X-Other: 1")
	if got := jobspec.IdleHeaders(h, true); !slices.Equal(got, []string{"Job-Colour"}) {
		t.Errorf("of a job: %v", got)
	}
	if got := jobspec.IdleHeaders(h, false); !slices.Equal(got, []string{"Idempotency-Key", "Job-Colour", "Job-Result-Ttl", "Job-Store"}) {
		t.Errorf("of a call: %v", got)
	}
}

// A job is repeatable by an id or by a key, and not by both.
func TestIdentity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body, path string
		headers    []string
		id         job.ID
		key, param string
	}{
		{body: `{}`},
		{body: `{"id":"a"}`, id: "a"},
		{body: `{}`, path: "a", id: "a"},
		{body: `{"id":"a"}`, path: "a", id: "a"},
		{body: `{"id":"a"}`, path: "b", param: "id"},
		{body: `{"id":"a b"}`, param: "id"},
		{body: `{"id":"batch"}`, param: "id"},
		{body: `{"idempotency_key":"k"}`, key: "k"},
		{body: `{}`, headers: []string{"Idempotency-Key: k"}, key: "k"},
		{body: `{"idempotency_key":"k"}`, headers: []string{"Idempotency-Key: k"}, key: "k"},
		{body: `{"idempotency_key":"j"}`, headers: []string{"Idempotency-Key: k"}, param: "idempotency_key"},
		{body: `{"id":"a","idempotency_key":"k"}`, param: "idempotency_key"},
		{body: `{}`, headers: []string{"Idempotency-Key: "}, param: "Idempotency-Key"},
		{body: `{}`, headers: []string{"Idempotency-Key: ü"}, param: "Idempotency-Key"},
		{body: `{"idempotency_key":"` + strings.Repeat("k", 256) + `"}`, param: "Idempotency-Key"},
	} {
		e, err := jobspec.ReadEnvelope([]byte(c.body))
		if err != nil {
			t.Fatal(err)
		}
		var id job.ID
		var key string
		if err = e.Identify(header(c.headers...), c.path); err == nil {
			id, key, err = e.Identity()
		}
		if c.param != "" {
			wrong(t, c.body, err, c.param)
			continue
		}
		if err != nil || id != c.id || key != c.key {
			t.Errorf("%+v: %q %q (%v)", c, id, key, err)
		}
	}
}

func TestBatchesAreReadEntryByEntry(t *testing.T) {
	t.Parallel()
	entries, err := jobspec.ReadBatch([]byte(`{"jobs":[{"route":"r","input":1},{"rout":"r"},5]}`))
	if err != nil || len(entries) != 3 || entries[0].Err != nil || entries[0].Envelope.Route != "r" || entries[1].Err == nil || entries[2].Err == nil {
		t.Errorf("%+v (%v)", entries, err)
	}
	for body, want := range map[string]struct{ param, says string }{
		"":              {"", "the body is missing"},
		"[]":            {"", "a batch is an object, not a JSON array"},
		`{"jobs":{}}`:   {"jobs", "a list of jobs, not a JSON object"},
		`{"job":[]}`:    {"", `unknown field "job"`},
		`{"jobs":[]}`:   {"jobs", "has 0 entries; 1 to 1000"},
		`{"jobs":[1]}x`: {"", "something follows the object"},
		`{"jobs":[` + strings.Repeat("1,", jobspec.MaxBatch) + `1]}`: {"jobs", "has 1001 entries"},
	} {
		_, err := jobspec.ReadBatch([]byte(body))
		wrong(t, body[:min(len(body), 40)], err, want.param, want.says)
	}
}

func TestEntriesOfOneIDFollowEachOther(t *testing.T) {
	t.Parallel()
	entries, err := jobspec.ReadBatch([]byte(`{"jobs":[{"route":"r","input":1,"id":"a"},{"route":"r","input":1},{"route":"r","input":2,"id":"a"},7,
		{"route":"r","input":1,"idempotency_key":"k"},{"route":"s","input":1,"idempotency_key":"k"},
		{"route":"r","input":2,"idempotency_key":"k"},{"route":"r","input":3,"id":"a"},{"route":"r","input":1}]}`))
	if got := fmt.Sprint(jobspec.Series(entries)); err != nil || got != "[[0 2 7] [1] [3] [4 6] [5] [8]]" {
		t.Errorf("%s (%v)", got, err)
	}
}

// Whatever is sent, options that pass are within the limits, and an error is about the request.
func FuzzEnvelopes(f *testing.F) {
	f.Add([]byte(`{"route":"r","input":1,"timeouts":{"queue":"1m","total":5}}`), "Job-Deadline", "2026-01-31T13:00:00Z")
	f.Add([]byte(`{"run_at":"2026-01-31T13:00:00Z","deadline":null}`), "Job-Total-Timeout", "1e9")
	f.Add([]byte(`{"jobs":[{}]}`), "Prefer", "wait=5, respond-async;x")
	f.Fuzz(func(t *testing.T, body []byte, name, value string) {
		h := http.Header{http.CanonicalHeaderKey(name): {value}}
		l := limits()
		if p, err := jobspec.PreferenceOf(h, l.MaxWait); err == nil && (p.Wait < 0 || p.Wait > l.MaxWait) {
			t.Errorf("wait %v", p.Wait)
		}
		e, err := jobspec.ReadHeaded(body, h)
		if err == nil {
			var o jobspec.Options
			o, err = e.Checked(l, route(), now())
			if err == nil && (o.Total <= 0 || o.Total > l.MaxDeadline+jobspec.Furthest || o.ResultTTL < time.Second || o.ResultTTL > l.MaxTTL || o.Queue < 0 || o.Attempt < 0 ||
				o.Retry.MaxAttempts < 1 || o.Retry.MaxAttempts > l.MaxAttempts || len(o.Tags) > jobspec.MaxTags || len(o.Metadata) > jobspec.MaxMetadata) {
				t.Errorf("%s: %+v", body, o)
			}
			if err == nil {
				if err = e.Identify(h, ""); err == nil {
					_, _, err = e.Identity()
				}
			}
		}
		if err != nil && fault.CodeOf(err) != fault.Invalid {
			t.Errorf("%s: %v", body, err)
		}
		if entries, err := jobspec.ReadBatch(body); err == nil {
			n := 0
			for _, indices := range jobspec.Series(entries) {
				n += len(indices)
			}
			if n != len(entries) {
				t.Errorf("%d of %d entries", n, len(entries))
			}
		}
	})
}

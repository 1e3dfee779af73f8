package problem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"headrace/api/dialect"
	"headrace/api/problem"
	"headrace/internal/fault"
)

// voices names them.
func voices() map[problem.Voice]string {
	return map[problem.Voice]string{problem.MLflow: "mlflow", problem.OpenAI: "openai", problem.Headrace: "headrace"}
}

// issues is an error about a body, as a schema tells it.
func issues() *fault.Error {
	e := fault.New(fault.Invalid, "2 things are wrong")
	e.Param = "text"
	e.Issues = []fault.Issue{
		{Type: "missing", Loc: []any{"text"}, Msg: "Field required", In: []byte(`{"a":1}`)},
		{Type: "string_type", Loc: []any{"list", 0}, Msg: "Input should be a valid string", In: []byte("1.0"), Ctx: map[string]any{"limit": 2}},
	}
	return e
}

func upstream(status int, detail []byte) *fault.Error {
	e := fault.New(fault.UpstreamError, "the model server answered %d", status)
	e.Status, e.Detail = status, detail
	return e
}

// faults are the errors whose replies the golden file shows.
func faults() []*fault.Error {
	var all []*fault.Error
	for _, code := range fault.Codes() {
		all = append(all, fault.New(code, "what happened & what to do"))
	}
	model := fault.New(fault.NotFound, "no such model")
	model.Param = "model"
	limited := fault.New(fault.RateLimited, "Rate limit exceeded: 2 per 1 minute")
	limited.RetryAfter = 1500 * time.Millisecond
	all = append(
		all, issues(), model, limited,
		fault.Wrap(fault.Invalid, dialect.ErrUnreadable, "the body is not JSON"),
		fault.Wrap(fault.Invalid, problem.ErrCoding, `the Content-Encoding "br" is not read here`),
	)
	for _, status := range []int{200, 400, 401, 403, 404, 405, 407, 429, 500, 501, 503, 507, 999} {
		all = append(all, upstream(status, nil))
	}
	raised := upstream(400, nil)
	raised.Raised = true
	return append(all, raised, upstream(418, []byte(`{"why": "a teapot"}`)))
}

// TestRepliesAreTheGoldenOnes compares each error's reply in each voice with testdata/replies.txt: status, headers, body.
func TestRepliesAreTheGoldenOnes(t *testing.T) {
	t.Parallel()
	var got strings.Builder
	for _, e := range faults() {
		fmt.Fprintf(&got, "%s %d %s\n", e.Code, e.Status, e.Message)
		for _, v := range []problem.Voice{problem.MLflow, problem.OpenAI, problem.Headrace} {
			r := problem.Of(v, e, problem.Caller{RequestID: "r1", Dice: 0.5})
			m := problem.MeaningOf(v, e)
			fmt.Fprintf(&got, "  %-8s %d again=%t vain=%t %s retry-after=%s told=%t\n           %s\n", voices()[v], r.Status, m.Again, m.Vain, r.ContentType, r.RetryAfter, r.Vain, r.Body)
		}
	}
	file := filepath.Join("testdata", "replies.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gotLines, wantLines := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		if i >= len(gotLines) || i >= len(wantLines) || gotLines[i] != wantLines[i] {
			t.Fatalf("line %d differs; run the test with UPDATE_GOLDEN=1 and read the difference.\ngot  %q\nwant %q", i+1, gotLines[min(i, len(gotLines)-1)], wantLines[min(i, len(wantLines)-1)])
		}
	}
}

func TestThePathDecidesTheVoice(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]problem.Voice{
		"":                                 problem.MLflow,
		"/":                                problem.MLflow,
		"/gateway/a/invocations":           problem.MLflow,
		"/api/2.0/endpoints/":              problem.MLflow,
		"/v1x":                             problem.MLflow,
		"/v1":                              problem.OpenAI,
		"/v1/models":                       problem.OpenAI,
		"/v1/routesx":                      problem.OpenAI,
		"/v1/routes":                       problem.Headrace,
		"/v1/routes/a/invocations":         problem.Headrace,
		"/v1/jobs/batch":                   problem.Headrace,
		"/v1/dead/x/redrive":               problem.Headrace,
		"/v1/queues":                       problem.Headrace,
		"/v1/limits":                       problem.Headrace,
		"/v1/embeddings/../jobs/something": problem.OpenAI,
	} {
		if got := problem.VoiceOf(path); got != want {
			t.Errorf("%s: %s, want %s", path, voices()[got], voices()[want])
		}
	}
}

// A server that refuses for a moment says so; what repeating cannot mend is never called retryable, and no status is made up.
func TestNoErrorIsBothRetryableAndVain(t *testing.T) {
	t.Parallel()
	for _, e := range faults() {
		for v, name := range voices() {
			m := problem.MeaningOf(v, e)
			if m.Again && m.Vain || m.Status < 400 || m.Status > 599 {
				t.Errorf("%s in %s: %+v", e, name, m)
			}
			if v == problem.OpenAI && m.Vain && !e.Raised && m.Status >= http.StatusInternalServerError {
				t.Errorf("%s: OpenAI's libraries would repeat %d", e, m.Status)
			}
		}
	}
}

// The text of an error without a code is for the log alone.
func TestInternalErrorsKeepTheirTextInside(t *testing.T) {
	t.Parallel()
	e := fault.From(errors.New("reading /etc/secret"))
	for v, name := range voices() {
		body := string(problem.Of(v, e, problem.Caller{RequestID: "r1"}).Body)
		if strings.Contains(body, "secret") || !strings.Contains(body, "r1") {
			t.Errorf("%s: %s", name, body)
		}
	}
}

func TestWhatIsNotJSONIsStillAReply(t *testing.T) {
	t.Parallel()
	e := upstream(http.StatusBadRequest, []byte("{"))
	r := problem.Of(problem.MLflow, e, problem.Caller{})
	if r.Status != http.StatusBadRequest || !json.Valid(r.Body) {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

func TestWholeSecondsRoundUp(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{0: "1", time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", time.Hour: "3600"} {
		if got := problem.WholeSeconds(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

func TestErrorsAboutNamesQuoteThemShort(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ä", 300) + "\xff"
	for name, err := range map[string]error{
		"a path":    problem.NoPath("/v1/" + long),
		"a route":   problem.NoRoute(problem.Headrace, long),
		"a model":   problem.NoModel(long),
		"a job":     problem.NoJob(long),
		"of MLflow": problem.NoRoute(problem.MLflow, long),
	} {
		f := fault.From(err)
		if f.Code != fault.NotFound || len(f.Message) > 300 || !utf8.ValidString(f.Message) {
			t.Errorf("%s: %s %q", name, f.Code, f.Message)
		}
	}
	if f := fault.From(problem.Absent("endpoint", "x\xff")); f.Message != "The endpoint 'x\ufffd' is not present or active on the server. Please verify the endpoint name." {
		t.Error(f.Message)
	}
}

func TestErrorsAboutAFieldNameIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err            error
		param, message string
	}{
		{problem.Param("limit", "limit must be at most %d", 5), "limit", "limit must be at most 5"},
		{problem.Option("store", "is %q", "x"), "store", `store is "x"`},
		{problem.Header("Job-Store", "both"), "Job-Store", "the header Job-Store must be both"},
	} {
		if f := fault.From(c.err); f.Code != fault.Invalid || f.Param != c.param || f.Message != c.message {
			t.Errorf("%+v", f)
		}
	}
}

// Python replaces as many bytes as begin a character by one mark, else each byte by one.
func TestInvalidTextIsReplacedAsPythonDoes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":             "",
		"grün":         "grün",
		"a\xffb":       "a\ufffdb",
		"\xe2\x82":     "\ufffd",
		"\xe2\x82x":    "\ufffdx",
		"\xff\xfe":     "\ufffd\ufffd",
		"\xf0\x9f\x98": "\ufffd",
	} {
		if got := problem.Valid(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Whatever a caller sent, an error that repeats it is valid JSON in each voice, and bounded.
func FuzzReplies(f *testing.F) {
	f.Add("/v1/jobs", "a\xff", 429, int64(3))
	f.Add("/gateway/x", "<&>", 0, int64(-1))
	f.Fuzz(func(t *testing.T, path, text string, status int, retries int64) {
		e := upstream(status, nil)
		e.Message = problem.Quotable(text)
		for _, failed := range []*fault.Error{e, fault.From(problem.NoPath(path)), fault.From(problem.Param(text, "%s", text))} {
			r := problem.Of(problem.VoiceOf(path), failed, problem.Caller{RequestID: text, Retries: int(retries), Dice: 1})
			if !json.Valid(r.Body) || r.Status < 400 || r.Status > 599 || r.RetryAfter > problem.LongestPause || r.RetryAfter < 0 {
				t.Errorf("%d %v %s", r.Status, r.RetryAfter, r.Body)
			}
		}
		if short := problem.Quotable(text); len(short) > 203 || !utf8.ValidString(short) {
			t.Errorf("%q", short)
		}
	})
}

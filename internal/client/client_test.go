package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"headrace/internal/client"
	"headrace/internal/inference"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// gateway serves handle, and gives a client of it.
func gateway(t *testing.T, handle http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return opened(t, server.URL+"/")
}

func opened(t *testing.T, address string) *client.Client {
	t.Helper()
	c := &client.Client{Address: address}
	if err := c.Open(); err != nil {
		t.Fatal(err)
	}
	return c
}

// patient asks again at once.
func patient(c *client.Client) *client.Patience {
	return &client.Patience{Client: c, Told: io.Discard, Limit: client.AwayFor}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, good := range map[string]bool{
		"http://127.0.0.1:5000": true, "https://gateway/": true, "": false, "127.0.0.1:5000": false, "ftp://x": false, "http://": false, "http://a b": false,
	} {
		if err := (&client.Client{Address: address}).Open(); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// An error reply is told in the gateway's words, or as it came when it has none.
func TestErrorReplies(t *testing.T) {
	t.Parallel()
	c := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/problem":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"code":"queue_full","detail":"try again"}`)
		case "/page":
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, " <html>\n")
		case "/cut":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
		default:
			body, _ := io.ReadAll(r.Body)
			_, _ = io.WriteString(w, r.Method+" "+r.Header.Get("Content-Type")+" "+string(body))
		}
	})
	_, err := c.Do(t.Context(), http.MethodGet, "/problem", nil)
	reply, ok := errors.AsType[*client.ReplyError](err)
	if !ok || reply.Status != http.StatusServiceUnavailable || reply.After != 7*time.Second || err.Error() != "503 Service Unavailable (queue_full): try again" {
		t.Errorf("%+v", err)
	}
	if _, err = c.Do(t.Context(), http.MethodGet, "/page", nil); !client.IsNotFound(err) || err.Error() != "404 Not Found: <html>" {
		t.Error(err)
	}
	if _, err = c.Do(t.Context(), http.MethodGet, "/cut", nil); err == nil || !strings.Contains(err.Error(), "the connection to the gateway broke off") {
		t.Error(err)
	}
	if answer, err := c.Do(t.Context(), http.MethodPost, "/x", []byte("{}")); err != nil || string(answer) != "POST application/json {}" {
		t.Errorf("%s (%v)", answer, err)
	}
	if answer, err := c.Do(t.Context(), http.MethodGet, "/x", nil); err != nil || string(answer) != "GET  " {
		t.Errorf("%s (%v)", answer, err)
	}
}

func TestAGatewayThatIsNotThere(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c := opened(t, server.URL)
	_, err := c.Do(t.Context(), http.MethodGet, "/", nil)
	if away, ok := errors.AsType[*client.AwayError](err); !ok || !strings.Contains(away.Error(), "is Headrace running?") || away.Unwrap() == nil {
		t.Error(err)
	}
	// A first question is not asked again: it is a wrong address more often than a restart.
	if _, err := patient(c).Get(t.Context(), "/", 0); err == nil {
		t.Error("there was an answer")
	}
	if _, err := c.RouteNames(t.Context()); err == nil {
		t.Error("there were routes")
	}
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the caller's own reason"))
	if _, err := patient(c).Get(gone, "/", 0); err == nil || err.Error() != "the caller's own reason" {
		t.Error(err)
	}
}

// A gateway that was reached may be away for the limit, and no longer.
func TestPatienceEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told strings.Builder
		p := &client.Patience{Told: &told, Limit: time.Minute}
		away := &client.ReplyError{Status: http.StatusBadGateway, Text: "502"}
		began := time.Now()
		for range 3 {
			if err := p.Bear(t.Context(), away); err != nil {
				t.Fatal(err)
			}
		}
		p.Here()                               // a good answer begins the time again
		for p.Bear(t.Context(), away) == nil { // until it gives up
		}
		if took := time.Since(began); took < 58*time.Second || took > 70*time.Second || strings.Count(told.String(), "asking again for 1m") != 2 {
			t.Errorf("%v: %s", took, told.String())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := p.Bear(ctx, away); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, away) {
			t.Error(err)
		}
	})
}

// Texts become what the type of the route wants; a split is described in MLflow's place.
func TestBodiesForRoutes(t *testing.T) {
	t.Parallel()
	c := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		for path, answer := range map[string]string{
			"/v1/routes/emb": `{"type":"llm/v1/embeddings"}`, "/v1/routes/comp": `{"type":"llm/v1/completions"}`, "/v1/routes/chat": `{"type":"llm/v1/chat"}`,
			"/v1/routes/raw": `{"type":"mlflow/v1/invocations"}`, "/v1/routes/new": `{"type":"later"}`, "/v1/routes/odd": `<html>`,
			"/api/3.0/gateway/route/a split": `{"task_type":"llm/v1/chat"}`, "/v1/routes": `{"routes":[{"name":"emb"},{"name":"chat"}]}`,
		} {
			if r.URL.Path == path {
				_, _ = io.WriteString(w, answer)
				return
			}
		}
		http.NotFound(w, r)
	})
	for route, want := range map[string]string{
		"emb": `{"input":["a <b>","c"]}`, "comp": `{"prompt":"a <b> c"}`, "chat": `{"messages":[{"content":"a <b> c","role":"user"}]}`,
		"raw": `{"inputs":["a <b>","c"]}`, "a split": `{"messages":[{"content":"a <b> c","role":"user"}]}`,
	} {
		if body, err := c.BodyOf(t.Context(), route, []string{"a <b>", "c"}); err != nil || string(body) != want {
			t.Errorf("%s: %s, want %s (%v)", route, body, want, err)
		}
	}
	for route, says := range map[string]string{"none": "404", "new": "does not know; use --data", "odd": `reading the description of "odd"`} {
		if _, err := c.BodyOf(t.Context(), route, []string{"a"}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", route, err)
		}
	}
	if _, err := client.BodyFor("r", inference.Type("x"), nil); err == nil {
		t.Error("a type that there is not has a body")
	}
	if names, err := c.RouteNames(t.Context()); err != nil || fmt.Sprint(names) != "[emb chat]" {
		t.Errorf("%v (%v)", names, err)
	}
}

// A job is asked for again while the gateway has no workers, and not when it is refused.
func TestOneJobIsPlacedOnceTheGatewayTakesIt(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	answers := map[string]string{
		"there":   `{"status":200,"job":{"id":"a"}}`,
		"refused": `{"status":422,"error":{"code":"key_reused","detail":"another body"}}`,
		"full":    `{"status":503,"error":{"code":"queue_full","detail":"later"}}`,
	}
	c := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for name, answer := range answers {
			if strings.Contains(string(body), name) {
				_, _ = fmt.Fprintf(w, `{"data":[%s]}`, answer)
				return
			}
		}
		switch {
		case strings.Contains(string(body), "two"):
			_, _ = io.WriteString(w, `{"data":[{},{}]}`)
		case strings.Contains(string(body), "page"):
			_, _ = io.WriteString(w, `<html>`)
		case asked.Add(1) == 1:
			_, _ = io.WriteString(w, `{"data":[{"status":503,"error":{"code":"no_workers","detail":"restarting"}}]}`)
		default:
			_, _ = io.WriteString(w, `{"data":[{"status":202,"job":{"id":"b"}}]}`)
		}
	})
	if item, err := patient(c).PlaceOne(t.Context(), "there"); err != nil || !item.Existed() {
		t.Errorf("%+v (%v)", item, err)
	}
	if item, err := patient(c).PlaceOne(t.Context(), "later"); err != nil || item.Existed() || asked.Load() != 2 {
		t.Errorf("%+v after %d questions (%v)", item, asked.Load(), err)
	}
	for job, says := range map[string]string{"refused": "422 (key_reused): another body", "full": "503 (queue_full): later", "two": "about 2 jobs, 1 were placed", "page": "reading the answer"} {
		if _, err := patient(c).PlaceOne(t.Context(), job); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", job, err)
		}
	}
}

// A stream of events that breaks off is taken up behind its last event, and ends with the job.
func TestEventsAreTakenUpWhereTheyBrokeOff(t *testing.T) {
	t.Parallel()
	c := gateway(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Last-Event-ID") {
		case "":
			_, _ = io.WriteString(w, ": alive\n\nid: 1\nevent: snapshot\ndata: {\"a\":1}\n\n")
		case "1":
			_, _ = io.WriteString(w, ": alive\n\nid: 2\nevent: status\ndata: {\"a\":2}\n\nid: 2\nevent: done\ndata: {\"a\":2}\n\n")
		}
	})
	var got []string
	err := patient(c).Follow(t.Context(), "/events", func(e client.Event) error {
		got = append(got, e.ID+" "+e.Kind+" "+string(e.Data))
		return nil
	})
	if want := `[1 snapshot {"a":1} 2 status {"a":2} 2 done {"a":2}]`; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v, want %s (%v)", got, want, err)
	}
	own := errors.New("the reader's own")
	if err := patient(c).Follow(t.Context(), "/events", func(client.Event) error { return own }); !errors.Is(err, own) {
		t.Error(err)
	}
	none := gateway(t, http.NotFound)
	if err := patient(none).Follow(t.Context(), "/events", nil); !client.IsNotFound(err) {
		t.Error(err)
	}
}

package app_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"headrace/internal/apptest"
)

// pageOf asks as a browser does.
func pageOf(t *testing.T, client *http.Client, method, address string, form url.Values) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Close = true
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// A call and a job of a real gateway are on its pages, and what the pages can do is done.
func TestDashboard(t *testing.T) {
	t.Parallel()
	base := "http://" + up(t, "")
	if status, _, err := post(t, base+"/endpoints/emb/invocations", "", `{"input": "x"}`); err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	if status, text := pageOf(t, http.DefaultClient, http.MethodGet, base+"/", nil); status != http.StatusOK || !strings.Contains(text, "/ui/calls/") || !strings.Contains(text, "All is well") {
		t.Errorf("the first page: %d %s", status, text)
	}
	if _, text := pageOf(t, http.DefaultClient, http.MethodGet, base+"/ui/calls?q=route:emb+status:ok", nil); !strings.Contains(text, "/ui/calls/") {
		t.Errorf("the calls: %s", text)
	}
	if status, _ := pageOf(t, http.DefaultClient, http.MethodPost, base+"/ui/routes/emb/pause", nil); status != http.StatusOK {
		t.Errorf("pausing: %d", status)
	}
	if status, text, err := post(t, base+"/v1/jobs", "", `{"route": "emb", "input": {"input": "<b>x</b>"}, "tags": ["t"]}`); err != nil || status != http.StatusAccepted {
		t.Fatal(status, text, err)
	}
	var text string
	eventually(t, "the job is listed", func() bool {
		_, text = pageOf(t, http.DefaultClient, http.MethodGet, base+"/ui/jobs?q=tag:t", nil)
		return strings.Contains(text, `href="/ui/jobs/job_`)
	})
	_, rest, _ := strings.Cut(text, `href="`+"/ui/jobs/job_")
	id, _, _ := strings.Cut(rest, `"`)
	job := base + "/ui/jobs/job_" + id
	if _, text = pageOf(t, http.DefaultClient, http.MethodGet, job, nil); !strings.Contains(text, "the queue of emb is paused") || !strings.Contains(text, "&lt;b&gt;x&lt;/b&gt;") {
		t.Errorf("a job that waits: %s", text)
	}
	pageOf(t, http.DefaultClient, http.MethodPost, base+"/ui/routes/emb/resume", nil)
	eventually(t, "it has succeeded", func() bool {
		_, text = pageOf(t, http.DefaultClient, http.MethodGet, job, nil)
		return strings.Contains(text, ">succeeded<")
	})
	if _, text = pageOf(t, http.DefaultClient, http.MethodPost, job+"/erase", url.Values{"sure": {"yes"}}); !strings.Contains(text, "erased") {
		t.Errorf("an erased job: %s", text)
	}
}

// Pages that listen do not hold up a gateway that stops.
func TestOpenPagesEndWithTheGateway(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	path, _ := apptest.Config(t, addr, "")
	stop := apptest.UpFrom(t, addr, path)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/ui/live/now", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	stop()
	const forced = 5 * time.Second // after which the front end would close what is open
	if took := time.Since(began); took >= forced {
		t.Errorf("stopping took %s", took)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
}

// Package browser_test looks at the dashboard in a real browser. It is a module of its own, so that the browser's protocol
// is no dependency of Headrace and quick tests stay quick: `make browser` and `make pictures` run it.
package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// browser starts a browser for a test. Without one the test fails: a check that did not run must not look like one that
// passed. NO_BROWSER=1 says that none is wanted.
func browser(t *testing.T) (context.Context, *complaints) {
	t.Helper()
	if os.Getenv("NO_BROWSER") != "" {
		t.Skip("NO_BROWSER is set: the dashboard was NOT looked at in a browser")
	}
	path := os.Getenv("BROWSER")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		t.Fatal("NO BROWSER WAS FOUND, so the dashboard was not looked at: install Chromium (apt-get install chromium), name one in BROWSER, or set NO_BROWSER=1")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true),
		chromedp.UserDataDir(t.TempDir()))
	allocator, end := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(end)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Run(ctx); err != nil { // the browser lives as long as the context of the first run
		t.Fatal(err)
	}
	c := &complaints{}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			c.add("exception: " + e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			// A page that shows an error has that status, which the browser complains of.
			if e.Entry.Level == log.LevelError && !strings.Contains(e.Entry.Text, "the server responded with a status of") {
				c.add(e.Entry.Text + " " + e.Entry.URL)
			}
		}
	})
	return ctx, c
}

// complaints are what a browser logs as errors, breaches of the Content-Security-Policy among them.
type complaints struct {
	mu  sync.Mutex
	all []string
}

func (c *complaints) add(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, text)
}

func (c *complaints) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, text := range c.all {
		t.Error(text)
	}
}

func run(t *testing.T, ctx context.Context, actions ...chromedp.Action) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// view sets the size of the window and the scheme of its colours.
func view(width, height int64, scheme string) chromedp.Tasks {
	return chromedp.Tasks{
		chromedp.EmulateViewport(width, height),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
	}
}

// page gives a page's text.
func page(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// first finds the first address on a page that has a form.
func first(t *testing.T, base, list, form string) string {
	t.Helper()
	expression := regexp.MustCompile(form)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-time.After(200 * time.Millisecond) {
		if found := expression.FindStringSubmatch(page(t, base+list)); found != nil {
			return strings.ReplaceAll(found[1], "&amp;", "&")
		}
	}
	t.Fatalf("%s has no %s", list, form)
	return ""
}

const (
	callForm = `href="(/ui/calls/[^"]*n=\d+)"`
	jobForm  = `href="(/ui/jobs/job_[^"]*)"`
)

// pages are all there are, with what they show under load.
func pages(t *testing.T, base string) map[string]string {
	t.Helper()
	return map[string]string{
		"now": "/ui", "day": "/ui?range=24h", "calls": "/ui/calls?q=route:embeddings", "call": first(t, base, "/ui/calls?q=batch:3", callForm),
		"failed-call": first(t, base, "/ui/calls?q=code:upstream_error", callForm), "jobs": "/ui/jobs", "job": first(t, base, "/ui/jobs?q=status:failed", jobForm),
		"done-job": first(t, base, "/ui/jobs?q=status:succeeded", jobForm), "routes": "/ui/routes", "none": "/ui/jobs?q=status:cancelled", "lost": "/ui/nowhere",
	}
}

// Each page stands in its window, in both schemes, without a complaint of the browser.
func TestEachPage(t *testing.T) {
	ctx, c := browser(t)
	base := gateway(t)
	loading, stop := context.WithCancel(t.Context())
	wait := load(loading, base, 12)
	defer wait()
	defer stop()
	axe := rules(t)
	all := pages(t, base)
	for name, path := range all {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 375} {
				var over int64
				var title string
				run(t, ctx, view(width, 900, scheme), chromedp.Navigate(base+path), chromedp.WaitVisible("main"), chromedp.Title(&title),
					chromedp.Evaluate(`document.documentElement.scrollWidth - innerWidth`, &over))
				if over > 0 || !strings.HasSuffix(title, "Headrace") {
					t.Errorf("%s (%s), %d wide: %q is %d too wide", name, scheme, width, title, over)
				}
				if axe != "" {
					obey(t, ctx, axe, fmt.Sprintf("%s (%s), %d wide", name, scheme, width))
				}
			}
		}
	}
	c.check(t)
}

// The first page moves by itself, and goes on when its stream was cut.
func TestPagesLive(t *testing.T) {
	ctx, c := browser(t)
	base := gateway(t)
	run(t, ctx, view(1280, 900, "light"), chromedp.Navigate(base+"/ui"), chromedp.WaitVisible(`#live.on`), chromedp.WaitVisible("#latest .empty"))
	post(t.Context(), base+"/v1/embeddings", map[string]any{"model": "embeddings", "input": "hello"})
	run(t, ctx, chromedp.WaitVisible(`#latest a[href^="/ui/calls/"][href*="n=1"]`))
	c.check(t)
}

// What can be done is done from the keyboard alone, and a failed job runs again.
func TestActions(t *testing.T) {
	ctx, c := browser(t)
	base := gateway(t)
	var focused, value string
	run(t, ctx, view(1280, 900, "light"), chromedp.Navigate(base+"/ui"), chromedp.KeyEvent(kb.Tab), chromedp.Evaluate(`document.activeElement.textContent`, &focused))
	if !strings.Contains(focused, "Skip") {
		t.Errorf("the first stop of the keyboard is %q", focused)
	}
	// The protocol sends a key and its character apart, so the character arrives although the page takes the key.
	run(t, ctx, chromedp.Navigate(base+"/ui/jobs"), chromedp.KeyEvent("/"), chromedp.Evaluate(`document.activeElement.id`, &focused))
	if focused != "q" {
		t.Errorf("/ leads to %q", focused)
	}
	run(t, ctx, chromedp.KeyEvent(kb.Backspace), chromedp.KeyEvent("status:failed"), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`.chips a[href*="failed"][aria-current]`),
		chromedp.Value("#q", &value), chromedp.Location(&focused))
	if value != "status:failed" || !strings.Contains(focused, "q=status%3Afailed") {
		t.Errorf("the filter is %q at %s", value, focused)
	}
	run(t, ctx, chromedp.Navigate(base+"/ui/routes"), chromedp.Focus(`#summaries button`), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(`#summaries form[action$="/resume"]`))
	run(t, ctx, chromedp.Navigate(base+"/ui"), chromedp.WaitVisible(`#health.mild`), chromedp.Navigate(base+"/ui/routes"), chromedp.Focus(`#summaries button`), chromedp.KeyEvent(kb.Enter),
		chromedp.WaitVisible(`#summaries form[action$="/pause"]`))
	for range 30 {
		post(t.Context(), base+"/v1/jobs", map[string]any{"route": "summaries", "input": map[string]any{"prompt": "x"}, "retry": map[string]any{"max_attempts": 1}})
	}
	job := first(t, base, "/ui/jobs?q=status:failed", jobForm)
	run(t, ctx, chromedp.Navigate(base+job), chromedp.Click(`form[action$="/retry"] button`), chromedp.WaitNotPresent(`#job-acts form[action$="/retry"]`))
	done := first(t, base, "/ui/jobs?q=status:succeeded", jobForm)
	run(t, ctx, chromedp.Navigate(base+done), chromedp.Click(`input[name=sure]`), chromedp.Click(`form[action$="/erase"] button`), chromedp.WaitNotPresent(`form[action$="/erase"]`))
	c.check(t)
}

// With a token the pages want a login, which the browser keeps on this machine, and forgets.
func TestLogin(t *testing.T) {
	ctx, c := browser(t)
	const token = "a token that is long enough"
	base := gateway(t, fmt.Sprintf("admin_token = %q", token))
	run(t, ctx, view(375, 800, "dark"), chromedp.Navigate(base+"/ui/routes"), chromedp.WaitVisible("#token"), chromedp.SendKeys("#token", "wrong"+kb.Enter), chromedp.WaitVisible(".problem"),
		chromedp.SendKeys("#token", token+kb.Enter), chromedp.WaitVisible("#live.on"), chromedp.Navigate(base+"/ui/routes"), chromedp.WaitVisible("#embeddings"),
		chromedp.Click(`form[action="/ui/logout"] button`), chromedp.WaitVisible("#token"), chromedp.Navigate(base+"/ui/routes"), chromedp.WaitVisible("#token"))
	c.check(t)
}

// rules reads axe-core, whose file AXE names; without it the test says that its rules were not tried.
func rules(t *testing.T) string {
	t.Helper()
	path := os.Getenv("AXE")
	if path == "" {
		t.Log("AXE names no axe.min.js: the rules of accessibility were NOT tried (npm pack axe-core)")
		return ""
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// obey tries axe-core's rules on the page that is shown.
func obey(t *testing.T, ctx context.Context, axe, name string) {
	t.Helper()
	var found json.RawMessage
	run(t, ctx, chromedp.Evaluate(axe+`; axe.run().then(r => r.violations.map(v => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 160)).join(" | ")))`, &found,
		func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	if string(found) != "[]" {
		t.Errorf("%s: %s", name, found)
	}
}

// TestPictures takes the pictures of docs, when PICTURES names a folder for them.
func TestPictures(t *testing.T) {
	folder := os.Getenv("PICTURES")
	if folder == "" {
		t.Skip("PICTURES names no folder; make pictures does")
	}
	ctx, _ := browser(t)
	base := gateway(t)
	loading, stop := context.WithCancel(t.Context())
	wait := load(loading, base, 16)
	defer wait()
	defer stop()
	<-time.After(4 * time.Minute)
	all := pages(t, base)
	all["call"] = first(t, base, "/ui/calls?q=batch:5", callForm)
	for name, height := range map[string]int64{"now": 1010, "calls": 760, "call": 800, "jobs": 760, "job": 960, "routes": 900} {
		scheme := "light"
		if name == "now" {
			shoot(t, ctx, base+all[name], filepath.Join(folder, "now-dark.png"), height, "dark")
		}
		shoot(t, ctx, base+all[name], filepath.Join(folder, name+".png"), height, scheme)
	}
}

func shoot(t *testing.T, ctx context.Context, url, file string, height int64, scheme string) {
	t.Helper()
	var picture []byte
	run(t, ctx, view(1200, height, scheme), chromedp.Navigate(url), chromedp.WaitVisible("main"), chromedp.Sleep(1500*time.Millisecond), chromedp.CaptureScreenshot(&picture))
	if err := os.WriteFile(file, picture, 0o600); err != nil {
		t.Fatal(err)
	}
}

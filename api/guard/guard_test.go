package guard_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"headrace/api/guard"
	"headrace/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "a token that is long enough"

func request(host string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://"+host+"/ui", http.NoBody)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func TestWhoIsAdmitted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		token    string
		loopback bool
		request  *http.Request
		want     fault.Code
		says     string
	}{
		{"this machine", "", true, request("127.0.0.1:5000"), "", ""},
		{"this machine by name", "", true, request("localhost:5000"), "", ""},
		{"this machine, IPv6", "", true, request("[::1]:5000"), "", ""},
		{"no token is set", "", false, request("10.0.0.1", "Authorization", "Bearer "), fault.Unauthorized, "is not set"},
		{"no token is given", token, false, request("10.0.0.1"), fault.Unauthorized, "Bearer"},
		{"a wrong token", token, false, request("10.0.0.1", "Authorization", "Bearer nonsense"), fault.Unauthorized, "not api.admin_token"},
		{"an empty token", token, false, request("10.0.0.1", "Authorization", "Bearer "), fault.Unauthorized, ""},
		{"the token", token, false, request("10.0.0.1", "Authorization", "Bearer "+token), "", ""},
		{"a token counts on loopback, too", token, true, request("127.0.0.1"), fault.Unauthorized, ""},
	} {
		g := guard.New(c.token, c.loopback)
		for what, admit := range map[string]func(*http.Request) error{"path": g.Admit, "page": g.AdmitBrowser} {
			err := admit(c.request)
			if fault.CodeOf(err) != c.want || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s, %s: %v", c.name, what, err)
			}
			if err != nil && strings.Contains(err.Error(), token) {
				t.Errorf("%s: the token is told", c.name)
			}
		}
	}
}

// Another site can have its own name point to this machine; its pages must not read ours.
func TestPagesAreOpenUnderOurOwnNamesOnly(t *testing.T) {
	t.Parallel()
	g := guard.New("", true)
	for _, host := range []string{"evil.example", "127.0.0.1.evil.example:5000", "10.0.0.1", ""} {
		r := request("127.0.0.1")
		r.Host = host
		if err := g.AdmitBrowser(r); fault.CodeOf(err) != fault.Unauthorized {
			t.Errorf("%q: %v", host, err)
		}
		if err := g.Admit(r); err != nil {
			t.Errorf("a path for programs, %q: %v", host, err)
		}
	}
}

func TestALoginHoldsForHalfADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := guard.New(token, false)
		c, err := g.Login(token)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") || strings.Contains(c.Value, token) {
			t.Errorf("%+v", c)
		}
		r := request("gateway.example")
		r.AddCookie(c)
		if err := g.AdmitBrowser(r); err != nil {
			t.Error(err)
		}
		if err := g.Admit(r); fault.CodeOf(err) != fault.Unauthorized {
			t.Errorf("a cookie opens a path that no page asks: %v", err)
		}
		if err := guard.New(token+"!", false).AdmitBrowser(r); err == nil {
			t.Error("the cookie outlives its token")
		}
		forged := request("gateway.example")
		forged.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value[:20] + "AAAA" + c.Value[24:]})
		if err := g.AdmitBrowser(forged); err == nil {
			t.Error("a forged cookie is taken")
		}
		time.Sleep(13 * time.Hour) //nolint:forbidigo // the bubble's clock
		if err := g.AdmitBrowser(r); err == nil {
			t.Error("the cookie holds for ever")
		}
	})
}

func TestGuessesAreLimited(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := guard.New(token, false)
		for range 10 {
			if _, err := g.Login("wrong"); fault.CodeOf(err) != fault.Unauthorized {
				t.Fatal(err)
			}
		}
		_, err := g.Login(token)
		if f := fault.From(err); f.Code != fault.RateLimited || f.RetryAfter <= 0 {
			t.Fatalf("the eleventh guess: %v", err)
		}
		time.Sleep(7 * time.Second) //nolint:forbidigo // the bubble's clock
		if _, err := g.Login(token); err != nil {
			t.Errorf("after a while: %v", err)
		}
	})
}

func FuzzCookies(f *testing.F) {
	g := guard.New(token, false)
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, value string) {
		r := request("gateway.example")
		r.Header.Set("Cookie", guard.Cookie+"="+value)
		if g.AdmitBrowser(r) == nil {
			t.Errorf("%q is taken", value)
		}
	})
}

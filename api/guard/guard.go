// Package guard decides who may see and change other people's work: on loopback everyone, beyond it those who know the
// admin token. It owns the token, the cookies that stand for it, and the count of wrong guesses. Begin at Guard.Admit.
package guard

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"headrace/internal/fault"
)

const (
	// Cookie is the name of the cookie: browsers keep one with this prefix for this host alone, over HTTPS or on loopback.
	Cookie = "__Host-headrace"
	// MinToken is the shortest token, in bytes.
	MinToken = 16

	session = 12 * time.Hour // that a login holds
	guesses = 10             // wrong ones in a row before each has to wait
	regain  = 6 * time.Second
	maxLong = 1 << 10 // bytes of a token that is looked at
)

// Guard admits requests. Its methods are used concurrently.
type Guard struct {
	open  bool
	token [sha256.Size]byte // its digest: comparing those takes the same time for tokens of all lengths
	known bool
	key   []byte // of cookies; it changes with the token

	mu    sync.Mutex
	wrong float64 // guesses that count
	at    time.Time
}

// New makes a guard. loopback says that only this machine can reach the front end: without a token everything is open
// then, and nothing without loopback.
func New(token string, loopback bool) *Guard {
	key := sha256.Sum256([]byte("headrace: the key of cookies\n" + token))
	return &Guard{open: loopback && token == "", known: token != "", token: sha256.Sum256([]byte(token)), key: key[:]}
}

// Open reports whether everything is open to this machine, without a token.
func (g *Guard) Open() bool { return g.open }

// Known reports whether there is a token to log in with.
func (g *Guard) Known() bool { return g.known }

// Admit is nil for a request that may do what is guarded: it has the token (Authorization: Bearer), or none is needed.
func (g *Guard) Admit(r *http.Request) error {
	switch {
	case g.open:
		return nil
	case !g.known:
		return fault.New(fault.Unauthorized, "Other machines can reach this front end, and api.admin_token is not set: set it in gateway.toml to allow this to those who know it.")
	}
	token, there := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !there {
		return fault.New(fault.Unauthorized, "This wants api.admin_token, in the header Authorization: Bearer.")
	}
	return g.try(token, time.Now())
}

// AdmitBrowser is Admit for pages, which also takes the cookie of a login. What is open is so under the names of this machine
// only: a page of another site could have its own name point here.
func (g *Guard) AdmitBrowser(r *http.Request) error {
	if g.open && !local(r.Host) {
		return fault.New(fault.Unauthorized, "This page was asked for under the name of another machine. Ask for it on 127.0.0.1 or localhost, or set api.admin_token in gateway.toml.")
	}
	if c, err := r.Cookie(Cookie); err == nil && g.known && g.valid(c.Value, time.Now()) {
		return nil
	}
	return g.Admit(r)
}

// Login gives the cookie for a token.
func (g *Guard) Login(token string) (*http.Cookie, error) {
	now := time.Now()
	if !g.known {
		return nil, fault.New(fault.Unauthorized, "There is no api.admin_token to log in with.")
	}
	if err := g.try(token, now); err != nil {
		return nil, err
	}
	return cookie(g.sealed(now.Add(session)), int(session/time.Second)), nil
}

// Logout gives the cookie that ends a login in its browser.
func (g *Guard) Logout() *http.Cookie { return cookie("", -1) }

func cookie(value string, age int) *http.Cookie {
	return &http.Cookie{Name: Cookie, Value: value, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

// try compares a token. Wrong ones are counted over all callers: after some, each has to wait, the right one with them.
func (g *Guard) try(token string, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wrong = max(g.wrong-now.Sub(g.at).Seconds()/regain.Seconds(), 0)
	g.at = now
	if g.wrong > guesses-1 {
		e := fault.New(fault.RateLimited, "Too many wrong tokens were tried; wait for some seconds.")
		e.RetryAfter = time.Duration(math.Ceil((g.wrong - guesses + 1) * float64(regain)))
		return e
	}
	sum := sha256.Sum256([]byte(token[:min(len(token), maxLong)]))
	if subtle.ConstantTimeCompare(sum[:], g.token[:]) != 1 {
		g.wrong++
		return fault.New(fault.Unauthorized, "That is not api.admin_token.")
	}
	return nil
}

// sealed is the text of a cookie: until when it holds, and a proof that this is ours.
func (g *Guard) sealed(until time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	mac := hmac.New(sha256.New, g.key)
	_, _ = mac.Write(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(b))
}

func (g *Guard) valid(text string, now time.Time) bool {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 8+sha256.Size {
		return false
	}
	until := time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	return hmac.Equal([]byte(g.sealed(until)), []byte(text)) && now.Before(until)
}

// local tells names and addresses of this machine's loopback.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

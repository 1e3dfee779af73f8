package api

import (
	"hash/fnv"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"headrace/internal/fault"
)

const (
	headerTimeout   = "Headrace-Timeout"
	headerBatch     = "Headrace-Batch"
	headerRoute     = "Headrace-Route"           // that answered in place of the one that was asked
	headerStainless = "X-Stainless-Read-Timeout" // OpenAI's SDKs: how long they wait for a reply
)

// patience is how long the caller waits: what it says, at most most.
func patience(r *http.Request, most time.Duration) (time.Duration, error) {
	if text := r.Header.Get(headerTimeout); text != "" {
		own, ok := seconds(text)
		if !ok {
			return 0, fault.New(fault.Invalid, "the header %s must be a number of seconds above 0, not %q", headerTimeout, text)
		}
		return min(own, most), nil
	}
	if own, ok := seconds(r.Header.Get(headerStainless)); ok {
		return min(own, most), nil
	}
	return most, nil
}

func seconds(text string) (time.Duration, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(f > 0) {
		return 0, false
	}
	if f > math.MaxInt32 {
		f = math.MaxInt32
	}
	return time.Duration(f * float64(time.Second)), true
}

// trusts tells whether the other end of the connection may speak for others.
func (k *callDesk) trusts(addr netip.Addr) bool {
	addr = addr.Unmap()
	return addr.IsLoopback() || slices.ContainsFunc(k.cfg.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// digest stands for an address where only equality counts: it is short, and does not show the address.
func digest(address string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(address))
	return strconv.FormatUint(h.Sum64(), 36)
}

// client is the caller's address: the connection's, or what trusted proxies say it is.
func (k *callDesk) client(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	peer, err := netip.ParseAddr(host)
	if err != nil || !k.trusts(peer) {
		return host
	}
	via := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	last := ""
	for _, hop := range slices.Backward(via) {
		if hop = strings.TrimSpace(hop); hop == "" {
			continue
		}
		last = hop
		if addr, err := netip.ParseAddr(hop); err != nil || !k.trusts(addr) {
			break
		}
	}
	if last == "" {
		return host
	}
	return last
}

func deadlineIn(wait time.Duration) time.Time { return time.Now().Add(wait) }

// headerDropped names what a caller gave and what had no effect. It may stand in every reply, errors included.
const headerDropped = "Headrace-Dropped"

// dropped names parameters and headers without effect in a reply.
func dropped(h http.Header, names ...string) {
	if len(names) == 0 {
		return
	}
	if before := h.Get(headerDropped); before != "" {
		names = append([]string{before}, names...)
	}
	h.Set(headerDropped, strings.Join(names, ", "))
}

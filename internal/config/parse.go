package config

import (
	"bytes"
	"cmp"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"headrace/internal/inference"
)

// Durabilities that [broker] knows.
const (
	durabilityPower      = "power"
	durabilityProcess    = "process"
	durabilityReplicated = "replicated"
	durabilityServer     = "server"
)

// Parse reads a configuration; name stands for the file in problems. What is wrong is an *InvalidError.
func Parse(name string, text []byte) (*Config, error) {
	c, _, err := parse(name, text)
	return c, err
}

// parse is Parse that also tells what the configuration, or the error, was made from.
func parse(name string, whole []byte) (*Config, origin, error) {
	text := bytes.TrimPrefix(whole, []byte("\xef\xbb\xbf"))
	var values map[string]any
	if err := toml.Unmarshal(text, &values); err != nil {
		return nil, newOrigin(whole, nil), syntaxProblem(name, err)
	}
	doc := &document{file: name, lines: findLines(string(text))}
	root := &table{doc: doc, values: values}
	c := &Config{Path: name}
	c.API = readAPI(root.section("api"))
	c.Broker = readBroker(root.section("broker"))
	c.Worker = readWorker(root.section("worker"))
	c.Jobs = readJobs(root.section("jobs"))
	crossCheck(doc, c)
	c.Table = readRoutes(root, c)
	root.finish()
	c.from = newOrigin(whole, doc.used)
	if len(doc.problems) > 0 {
		slices.SortStableFunc(doc.problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
		})
		return nil, c.from, &InvalidError{Problems: doc.problems}
	}
	c.Warnings = slices.Concat(doc.warnings, warnings(doc, c))
	c.keys = doc.keys
	return c, c.from, nil
}

func syntaxProblem(name string, err error) error {
	p := Problem{File: name, Message: err.Error(), Hint: "this is not TOML; what follows was not looked at"}
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		p.Line, p.Message = parse.Position.Line, parse.Message
	}
	p.Message = Discreet(p.Message)
	return &InvalidError{Problems: []Problem{p}}
}

// section is a table that may be missing; it is never nil.
func (t *table) section(name string) *table {
	if s := t.table(name); s != nil {
		return s
	}
	return &table{doc: t.doc, path: t.key(name)}
}

func readAPI(t *table) API {
	a := API{
		Listen:           t.address("listen", "127.0.0.1:5000"),
		Exposed:          t.flag("exposed"),
		MaxBody:          t.size("max_body", "32MiB"),
		MaxInflightBytes: t.size("max_inflight_bytes", "512MiB"),
		SyncTimeout:      t.duration("sync_timeout", defaultSyncTimeout),
		StreamHeartbeat:  t.duration("stream_heartbeat", defaultHeartbeat),
		ShutdownGrace:    t.duration("shutdown_grace", defaultGrace),
		AdminToken:       t.secret("admin_token"),
		RecentCalls:      t.count("recent_calls", defaultRecentCalls, 0),
	}
	if n := len(a.AdminToken); n > 0 && n < minAdminToken {
		t.complain("admin_token", "make one: openssl rand -base64 24", "is too short: it has %d bytes, and needs %d", n, minAdminToken)
	}
	if a.RecentCalls > mostRecentCalls {
		t.complain("recent_calls", "for example recent_calls = "+strconv.Itoa(defaultRecentCalls), "must be at most %d, not %d", mostRecentCalls, a.RecentCalls)
	}
	for i, s := range t.texts("trusted_proxies", `["10.0.0.0/8"]`) {
		prefix, err := parsePrefix(s)
		if err != nil {
			t.doc.complain(t.key("trusted_proxies")+"["+strconv.Itoa(i)+"]", `write an address or a network: "10.1.2.3", "10.0.0.0/8"`, "%q is neither", s)
			continue
		}
		a.TrustedProxies = append(a.TrustedProxies, prefix)
	}
	t.finish()
	return a
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return addr.Prefix(addr.BitLen())
}

func readBroker(t *table) Broker {
	b := Broker{
		URL:             t.secret("url"),
		Listen:          t.address("listen", "127.0.0.1:4222"),
		Expose:          t.flag("expose"),
		DataDir:         t.text("data_dir", "data"),
		Durability:      t.text("durability", durabilityPower),
		MaxWaiting:      t.count("max_waiting", 10_000, 1),
		MaxWaitingBytes: t.size("max_waiting_bytes", "256MiB"),
		MaxMemory:       t.size("max_memory", "512MiB"),
		MaxStore:        t.size("max_store", "20GiB"),
		User:            t.secret("user"),
		Password:        t.secret("password"),
		Credentials:     strings.TrimPrefix(t.text("credentials", ""), "file:"),
		TLSCA:           strings.TrimPrefix(t.text("tls_ca", ""), "file:"),
		OpsListen:       t.address("ops_listen", ""),
	}
	readDurability(t, &b)
	switch {
	case b.Expose && b.URL != "":
		t.complain("expose", "drop one of broker.expose and broker.url", "there is no embedded server to expose when broker.url names another one")
	case b.URL == "" && b.User == "" && !loopback(b.Listen):
		t.complain("listen", "set broker.user and broker.password, or listen on 127.0.0.1", "anybody could connect: %s is not loopback and no credentials are set", b.Listen)
	}
	if (b.User == "") != (b.Password == "") {
		given, empty := "user", "password"
		if b.User == "" {
			given, empty = empty, given
		}
		t.complain(given, "set broker."+empty+" too, or neither", "user and password belong together, and %s is empty", empty)
	}
	for name, path := range map[string]string{"credentials": b.Credentials, "tls_ca": b.TLSCA} {
		t.mustExist(name, path)
	}
	for u := range strings.SplitSeq(b.URL, ",") {
		if u = strings.TrimSpace(u); b.URL != "" && !validNATS(u) {
			t.complain("url", `for example "nats://nats.example.org:4222"`, "%q is not the address of a NATS server", withoutSecrets(u))
		}
	}
	t.finish()
	return b
}

// readDurability checks what was asked for, and sets what can be promised: whether an external server syncs is not known
// unless its operator says so.
func readDurability(t *table, b *Broker) {
	b.ServerSyncs = t.flag("server_syncs")
	known := []string{durabilityPower, durabilityProcess, durabilityReplicated, durabilityServer}
	switch {
	case !slices.Contains(known, b.Durability):
		t.complain("durability", oneOf(b.Durability, known), "%q is not a durability", b.Durability)
	case b.Durability == durabilityReplicated && b.URL == "":
		t.complain("durability", "set broker.url, or use power", "three copies need an external cluster")
	case b.Durability == durabilityServer && b.URL == "":
		t.complain("durability", "use power or process, or set broker.url", "the embedded server is as durable as this key says")
	case b.ServerSyncs && b.URL == "":
		t.complain("server_syncs", "drop it, and use durability = \"power\"", "it speaks of the servers of broker.url, which is empty")
	case b.URL != "" && !b.ServerSyncs && (b.Durability == durabilityPower || b.Durability == durabilityProcess):
		t.doc.warn(t.key("durability"), `set broker.server_syncs = true if the server runs with sync_interval: always; or durability = "server" (or "replicated") to accept it`,
			"%q cannot be promised for an external server: when it writes to disk is its own setting, by default every two minutes; jobs say \"server\"", b.Durability)
		b.Durability = durabilityServer
	}
}

func (t *table) mustExist(name, path string) {
	if path == "" {
		return
	}
	if _, err := os.Stat(path); err != nil {
		t.doc.used = append(t.doc.used, usedFile{path: path}) // it may still come
		t.unreadable(name, path, err)
	}
}

func validNATS(u string) bool {
	scheme, rest, ok := strings.Cut(u, "://")
	_, err := url.Parse(u)
	return ok && rest != "" && err == nil && slices.Contains([]string{"nats", "tls", "ws", "wss"}, scheme)
}

func readWorker(t *table) Worker {
	w := Worker{
		Slots:            t.count("slots", 0, 0),
		MaxReply:         t.size("max_reply", "64MiB"),
		StreamIdle:       t.duration("stream_idle", time.Minute),
		StreamMax:        t.durationUpTo("stream_max", 10*time.Minute, 24*time.Hour),
		StreamMaxEvent:   t.size("stream_max_event", "4MiB"),
		MaxInflightBytes: t.size("max_inflight_bytes", "512MiB"),
		Timeout:          t.duration("timeout", defaultTimeout),
		ConnectTimeout:   t.duration("connect_timeout", defaultConnectTimeout),
		OpsListen:        t.address("ops_listen", ""),
	}
	t.finish()
	return w
}

func readJobs(t *table) Jobs {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	j := Jobs{
		MaxRetained:  t.count("max_retained", 1_000_000, 1),
		MaxWaiting:   t.count("max_waiting", 1_000_000, 1),
		ListFile:     t.text("list_file", ""),
		Recent:       t.size("recent", "32MiB"),
		ResultTTL:    t.durationUpTo("result_ttl", day, year),
		MaxResultTTL: t.durationUpTo("max_result_ttl", 7*day, year),
		Deadline:     t.durationUpTo("deadline", day, year),
		MaxDeadline:  t.durationUpTo("max_deadline", 7*day, year),
		MaxWait:      t.duration("max_wait", time.Minute),
		MaxAttempts:  t.count("max_attempts", 4, 1),
		KeyLife:      t.durationUpTo("key_life", day, year),
	}
	if j.ResultTTL > j.MaxResultTTL {
		t.complain("result_ttl", "make jobs.max_result_ttl larger", "%s is more than jobs.max_result_ttl (%s)", j.ResultTTL, j.MaxResultTTL)
	}
	if j.Deadline > j.MaxDeadline {
		t.complain("deadline", "make jobs.max_deadline larger", "%s is more than jobs.max_deadline (%s)", j.Deadline, j.MaxDeadline)
	}
	t.finish()
	return j
}

// crossCheck compares values of different tables. Half of each byte budget is for bodies and half for replies,
// so that neither can lock the other out. The problem is told at the key that stands in the file.
func crossCheck(doc *document, c *Config) {
	const body, reply, front, worker = "api.max_body", "worker.max_reply", "api.max_inflight_bytes", "worker.max_inflight_bytes"
	fits := func(key string, size int64, whole string, limit int64) {
		if size > limit/2 {
			doc.complain(doc.written(key, whole), "make "+whole+" larger, or "+key+" smaller",
				"%s is %d bytes, which never fit in half of %s (%d)", key, size, whole, limit)
		}
	}
	fits(body, c.API.MaxBody, front, c.API.MaxInflightBytes)
	fits(body, c.API.MaxBody, worker, c.Worker.MaxInflightBytes)
	fits(reply, c.Worker.MaxReply, front, c.API.MaxInflightBytes)
	fits(reply, c.Worker.MaxReply, worker, c.Worker.MaxInflightBytes)
	if c.API.Listen == c.Broker.Listen {
		doc.complain(doc.written("broker.listen", "api.listen"), "choose another port", "api.listen and broker.listen are the same address, %s", c.API.Listen)
	}
}

// address is host:port; "" is allowed only as the default.
func (t *table) address(name, fallback string) string {
	s := t.text(name, fallback)
	if s == "" && fallback == "" {
		return ""
	}
	_, port, err := net.SplitHostPort(s)
	if n, numErr := strconv.ParseUint(port, 10, 16); err != nil || numErr != nil || n > 65535 {
		t.complain(name, `for example "`+cmp.Or(fallback, "127.0.0.1:9090")+`"`, "%q is not host:port", s)
		return fallback
	}
	return s
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// oneOf is a hint that names what is known.
func oneOf(got string, known []string) string {
	if near := nearest(got, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "one of " + strings.Join(known, ", ")
}

// readRoutes reads both lists of routes, whose names are unique over both, and the splits over them.
func readRoutes(root *table, c *Config) *inference.Table {
	var all []*inference.Route
	var entries []*table
	seen := make(map[string]string)
	for _, family := range []inference.Family{inference.Routes, inference.Endpoints} {
		for _, t := range root.tables(string(family)) {
			r := readRoute(t, family, c)
			if first, twice := seen[r.Name]; twice {
				t.complain("name", "names are unique over [[routes]] and [[endpoints]]", "%q is already the name of %s", r.Name, first)
			} else if r.Name != "" {
				seen[r.Name] = t.path
			}
			all, entries = append(all, r), append(entries, t)
		}
	}
	routes := inference.NewTable(all...)
	for i, r := range all {
		checkFallbacks(entries[i], r, routes)
	}
	return routes.WithSplits(readSplits(root, routes, seen)...)
}

// checkFallbacks checks that other routes can stand in for one.
func checkFallbacks(t *table, r *inference.Route, routes *inference.Table) {
	for i, name := range r.Fallbacks {
		other := routes.Route(name)
		switch {
		case other == nil:
			t.complain("fallbacks", "name an entry of [[routes]] or [[endpoints]]", "there is no route %q", name)
		case name == r.Name, slices.Contains(r.Fallbacks[:i], name):
			t.complain("fallbacks", "name each other route once", "%q is the route itself, or named twice", name)
		case other.Type != r.Type:
			t.complain("fallbacks", "only routes of one type can stand in for each other", "%q is of the type %s, not %s", name, other.Type, r.Type)
		}
	}
}

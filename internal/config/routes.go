package config

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"headrace/internal/inference"
)

// Defaults of durations.
const (
	defaultSyncTimeout    = 65 * time.Second
	defaultHeartbeat      = 15 * time.Second
	defaultGrace          = 30 * time.Second
	defaultTimeout        = 60 * time.Second
	defaultConnectTimeout = 2 * time.Second
)

// minAdminToken is the least length of api.admin_token, in bytes: a shorter one could be guessed.
const minAdminToken = 16

// What a front end remembers of calls for its dashboard. The most is that of api/dashboard/recent, whose test keeps the
// memory below 16 MiB.
const (
	defaultRecentCalls = 10_000
	mostRecentCalls    = 20_000
)

// The canonical names of the providers: of `mlflow models serve`, of OpenAI and what speaks like it, of the same under the name
// that MLflow 3 has for Azure, and of Anthropic.
const (
	ProviderMLflow    = "mlflow-model-serving"
	ProviderOpenAI    = "openai"
	ProviderAzure     = "azure"
	ProviderAnthropic = "anthropic"
)

// Providers lists the canonical names.
func Providers() []string {
	return []string{ProviderMLflow, ProviderOpenAI, ProviderAzure, ProviderAnthropic}
}

// ProviderName is the canonical name of a provider: case, and - or _, do not matter.
func ProviderName(given string) string { return strings.ReplaceAll(strings.ToLower(given), "_", "-") }

// maxName is the longest name of a route.
const maxName = 128

func readRoute(t *table, family inference.Family, c *Config) *inference.Route {
	r := &inference.Route{
		Name:            t.text("name", ""),
		Type:            readType(t, family),
		Family:          family,
		Description:     t.text("description", ""),
		Timeout:         t.duration("timeout", c.Worker.Timeout),
		ConnectTimeout:  c.Worker.ConnectTimeout,
		SyncTimeout:     t.duration("sync_timeout", c.API.SyncTimeout),
		StreamIdle:      t.duration("stream_idle", c.Worker.StreamIdle),
		StreamMax:       t.durationUpTo("stream_max", c.Worker.StreamMax, 24*time.Hour),
		MaxReply:        c.Worker.MaxReply,
		MaxEvent:        c.Worker.StreamMaxEvent,
		Slots:           t.count("slots", c.Worker.Slots, 0),
		MaxWaiting:      t.count("max_waiting", c.Broker.MaxWaiting, 1),
		MaxWaitingBytes: c.Broker.MaxWaitingBytes,
		Limit:           readLimit(t),
		ChatTemplate:    readTemplate(t),
		Output:          readOutput(t),
		NaNError:        readNaN(t),
		Tokens:          t.flag("tokens"),
		Fallbacks:       t.texts("fallbacks", `["other-route"]`),
	}
	if r.Tokens && (r.Type == inference.Chat || r.Type == inference.Raw) {
		t.complain("tokens", "leave it out", "has no effect on a route of the type %s", r.Type)
	}
	r.Format, r.RefuseDropped = readFormat(t, r.Type), readDropped(t)
	r.LearnSlots, r.Slots = r.Slots == 0, max(r.Slots, 1)
	r.Batch = readBatch(t, r.Type)
	checkName(t, r.Name)
	readModel(t, r)
	if r.Vendor != nil {
		vendorDefaults(t, r, c)
	}
	t.finish()
	return r
}

func checkName(t *table, name string) {
	switch {
	case name == "":
		t.complain("name", `for example name = "embeddings"`, "a name is required")
	case len(name) > maxName:
		t.complain("name", "choose a shorter one", "is %d characters long; %d are allowed", len(name), maxName)
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") != "" || !plainName(name):
		t.complain("name", "use letters, digits, _ - and .", "%q has other characters", name)
	}
}

func plainName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return true
}

// readType reads route_type in [[routes]] and endpoint_type in [[endpoints]].
func readType(t *table, family inference.Family) inference.Type {
	key, other := "route_type", "endpoint_type"
	if family == inference.Endpoints {
		key, other = other, key
	}
	if _, wrong := t.values[other]; wrong {
		t.known = append(t.known, other)
		t.complain(other, "in [["+string(family)+"]] it is called "+key, "unknown key")
		return ""
	}
	var known []string
	for _, kind := range inference.Types() {
		known = append(known, string(kind))
	}
	s := t.text(key, "")
	switch {
	case s == "":
		t.complain(key, "one of "+strings.Join(known, ", "), "a type is required")
	case !slices.Contains(known, s):
		t.complain(key, oneOf(s, known), "%q is not a type of route", s)
	}
	return inference.Type(s)
}

func readModel(t *table, r *inference.Route) {
	m := t.table("model")
	if m == nil {
		if _, there := t.values["model"]; !there {
			t.complain("model", "write [routes.model] or [endpoints.model] below the entry", "a model is required")
		}
		return
	}
	defer m.finish()
	r.Model = m.text("name", "")
	given := m.text("provider", "")
	r.Provider = ProviderName(given)
	switch {
	case given == "":
		m.complain("provider", "one of "+strings.Join(Providers(), ", "), "a provider is required")
	case !slices.Contains(Providers(), r.Provider):
		m.complain("provider", oneOf(r.Provider, Providers()), "%q is not a provider of this version", given)
	}
	conf := m.table("config")
	if conf == nil {
		if _, there := m.values["config"]; !there {
			m.complain("config", "write [routes.model.config] with the address or the key of the model", "a config is required")
		}
		return
	}
	defer conf.finish()
	switch r.Provider {
	case ProviderOpenAI, ProviderAzure:
		readOpenAI(m, conf, r)
	case ProviderAnthropic:
		readAnthropic(m, conf, r)
	default:
		r.Servers = readServers(conf, "model_server_url", `"http://127.0.0.1:9020"`)
	}
	r.Headers = readHeaders(conf)
	r.TLSCA = strings.TrimPrefix(conf.text("tls_ca", ""), "file:")
	conf.mustExist("tls_ca", r.TLSCA)
}

// readServers reads the address of a model server, one or a list.
func readServers(t *table, key, example string) []string {
	v, ok := t.get(key)
	if !ok {
		t.complain(key, "for example "+key+" = "+example, "the address of the model server is required")
		return nil
	}
	var urls []string
	switch v := v.(type) {
	case string:
		urls = []string{v}
	case []any:
		urls = t.texts(key, "["+example+"]")
		if len(v) == 0 {
			t.complain(key, "for example "+key+" = ["+example+"]", "the list is empty")
		}
	default:
		t.wrongType(key, v, "must be an address or a list of them", example)
	}
	for i, u := range urls {
		if problem := CheckURL(u); problem != "" {
			t.complain(key, "for example "+example, "%q %s", withoutSecrets(u), problem)
		}
		if slices.Contains(urls[:i], u) {
			t.complain(key, "list each replica once", "%q is listed twice", withoutSecrets(u))
		}
	}
	return urls
}

// CheckURL says why s cannot be the address of a model server, to be read after it; "" when it can.
func CheckURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "is not a URL"
	case u.Scheme != "http" && u.Scheme != "https":
		return "must begin with http:// or https://"
	case u.Hostname() == "":
		return "names no host"
	case u.User != nil:
		return "must not hold a password; use model.config.headers"
	case u.Fragment != "":
		return "must not have a fragment"
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return "has an impossible port"
		}
	}
	return ""
}

func readHeaders(t *table) map[string]string {
	h := t.table("headers")
	if h == nil {
		return nil
	}
	headers := make(map[string]string, len(h.values))
	for name := range h.values {
		value := h.secret(name)
		switch {
		case !validHeaderName(name):
			h.complain(name, "use letters, digits and -, as in X-Team", "%q cannot be the name of a header", name)
		case strings.ContainsAny(value, "\r\n\x00"):
			h.complain(name, "write it on one line", "the value has a line break")
		case slices.Contains([]string{"host", "content-length", "content-type", "transfer-encoding", "connection"}, strings.ToLower(name)):
			h.complain(name, "leave it out", "Headrace sets this header itself")
		}
		headers[name] = value
	}
	return headers
}

func validHeaderName(name string) bool {
	return name != "" && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") == ""
}

func readNaN(t *table) bool {
	switch s := t.text("nan", "null"); s {
	case "null":
		return false
	case "error":
		return true
	default:
		t.complain("nan", oneOf(s, []string{"null", "error"}), "%q is not known", s)
		return false
	}
}

// readFormat reads how the model server wants to be asked.
func readFormat(t *table, kind inference.Type) inference.Format {
	s := inference.Format(t.text("format", ""))
	if s == "" {
		return ""
	}
	var known []string
	for _, f := range inference.Formats(kind) {
		known = append(known, string(f))
	}
	switch {
	case slices.Contains(known, string(s)):
	case kind == inference.Raw:
		t.complain("format", "leave it out", "has no effect on a route of the type %s, which passes the model server's own bodies through", kind)
	default:
		t.complain("format", oneOf(string(s), known), "%q is not a format of the type %s", string(s), kind)
	}
	return s
}

// readDropped reads what becomes of calls of which something would not reach the model.
func readDropped(t *table) bool {
	switch s := t.text("dropped", "name"); s {
	case "name":
		return false
	case "refuse":
		return true
	default:
		t.complain("dropped", oneOf(s, []string{"name", "refuse"}), "%q is not known", s)
		return false
	}
}

func readTemplate(t *table) string {
	s := t.text("chat_template", "")
	parsed, err := template.New("chat_template").Option("missingkey=error").Parse(s)
	if err == nil {
		err = tryTemplate(parsed)
	}
	if err != nil {
		t.complain("chat_template", `for example "{{range .Messages}}{{.Role}}: {{.Content}}\n{{end}}"`, "%v", err)
	}
	return s
}

// tryTemplate renders conversations of one to three messages: a template that can render none of them is wrong.
func tryTemplate(parsed *template.Template) error {
	type turn struct{ Role, Content string }
	talk := []turn{{"user", "a"}, {"assistant", "b"}, {"user", "c"}}
	var first error
	for n := range talk {
		err := parsed.Execute(io.Discard, struct{ Messages []turn }{talk[:n+1]})
		if err == nil {
			return nil
		}
		first = cmp.Or(first, err)
	}
	return first
}

func readOutput(t *table) *inference.Output {
	o := t.table("output")
	if o == nil {
		return nil
	}
	defer o.finish()
	field := o.text("field", "")
	if field == "" {
		o.complain("field", `for predictions like [{"embedding": [...]}] write field = "embedding"`, "the key that holds the answer is required")
	}
	return &inference.Output{Field: field}
}

func readLimit(t *table) *inference.Limit {
	l := t.table("limit")
	if l == nil {
		return nil
	}
	defer l.finish()
	limit := &inference.Limit{
		Calls:  l.count("calls", -1, 0),
		Period: l.text("renewal_period", ""),
		Key:    l.text("key", ""),
	}
	if _, ok := l.values["calls"]; !ok {
		l.complain("calls", "for example calls = 10", "the number of calls is required")
	}
	window, err := ParsePeriod(limit.Period)
	if err != nil {
		l.complain("renewal_period", `for example "minute" or "2 hours"`, "%v", err)
	}
	limit.Window = window
	return limit
}

// ParsePeriod reads MLflow's renewal_period: a unit, or a number and a unit, whatever the case.
func ParsePeriod(s string) (time.Duration, error) {
	m := regexp.MustCompile(`(?i)^\s*(?:(\d{1,6})\s*)?(second|minute|hour|day|month|year)s?\s*$`).FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a period of seconds, minutes, hours, days, months or years", s)
	}
	n, err := strconv.Atoi(cmp.Or(m[1], "1"))
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no time at all", s)
	}
	unit := map[string]time.Duration{
		"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour,
		"month": 30 * 24 * time.Hour, "year": 360 * 24 * time.Hour, // as the library behind MLflow's limits counts them
	}[strings.ToLower(m[2])]
	if n > int(200*360*24*time.Hour/unit) {
		return 0, fmt.Errorf("%q is longer than 200 years", s)
	}
	return time.Duration(n) * unit, nil
}

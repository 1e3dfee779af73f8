// Package mlflowyaml translates the configuration of MLflow's AI Gateway, in both of its spellings (routes with
// route_type, and endpoints with endpoint_type), into gateway.toml. It is the only package that knows YAML.
package mlflowyaml

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"headrace/internal/config"
	"headrace/internal/inference"
)

// Left is something that was not translated, or that MLflow ignored as well.
type Left struct {
	Line    int
	Key     string // such as endpoints[2].model.provider
	Message string
	// Ignored: MLflow paid no attention to it either, so nothing is lost.
	Ignored bool
}

// String is "line 12: endpoints[2].limit: why".
func (l Left) String() string { return fmt.Sprintf("line %d: %s: %s", l.Line, l.Key, l.Message) }

// Translation is a gateway.toml and what did not fit into it.
type Translation struct {
	TOML   string
	Routes int
	Left   []Left
	// Keys are credentials that stand in MLflow's file. TOML names their paths, and they are the caller's to write there.
	Keys []Key
}

// Key is a credential and the path of the file that is to hold it.
type Key struct {
	Path string
	Text inference.Secret
}

// Options say what surrounds a configuration.
type Options struct {
	// Keys is the folder for credentials that stand in the configuration; "" = there is none, and entries with one are left out.
	Keys string
	// IsFile says whether a path names a file, which MLflow then takes a key from; nil = none does.
	IsFile func(path string) bool
}

// Complete reports whether everything that MLflow obeyed was translated.
func (t *Translation) Complete() bool {
	return !slices.ContainsFunc(t.Left, func(l Left) bool { return !l.Ignored })
}

// Translate reads MLflow's configuration. An error says that it is no configuration at all; what is wrong with a
// single entry is in Left, and the others are translated.
func Translate(text []byte, set Options) (*Translation, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the file is not UTF-8, as YAML has to be")
	}
	doc, err := read([]byte(strings.TrimPrefix(string(text), "\ufeff")))
	if err != nil {
		return nil, err
	}
	if doc.kind != aMapping {
		return nil, fmt.Errorf("the document is %s; MLflow's configuration has a list called routes or endpoints", doc.kind)
	}
	if set.IsFile == nil {
		set.IsFile = func(string) bool { return false }
	}
	t := &translator{set: set, out: new(Translation), names: make(map[string]string)}
	found := false
	for _, root := range []string{"routes", "endpoints"} {
		list := doc.get(root)
		if list == nil || list.kind == aNull && root == "routes" && doc.get("endpoints") != nil {
			continue
		}
		if list.kind != aList {
			return nil, fmt.Errorf("line %d: %s is %s; it must be a list", list.line, root, list.kind)
		}
		found = true
		t.entries(root, list)
	}
	for _, d := range t.splits {
		t.split(d)
	}
	if !found {
		return nil, errors.New("there is no list called routes or endpoints: this is no configuration of MLflow's AI Gateway")
	}
	for _, key := range doc.keys {
		if key != "routes" && key != "endpoints" {
			t.ignore(doc.at[key], key)
		}
	}
	t.out.TOML = t.text()
	return t.out, nil
}

// translator collects entries. The first thing that is wrong with an entry leaves it out.
type translator struct {
	set    Options
	out    *Translation
	names  map[string]string // the types of endpoints; "" for other entries
	splits []deferred
	tables []string
}

func (t *translator) leave(n *node, key, format string, args ...any) {
	t.out.Left = append(t.out.Left, Left{Line: n.line, Key: key, Message: fmt.Sprintf(format, args...)})
}

func (t *translator) ignore(n *node, key string) {
	t.out.Left = append(t.out.Left, Left{Line: n.line, Key: key, Message: "MLflow ignores this key, and so it is left out", Ignored: true})
}

// entries translates the elements of a list, and puts traffic routes aside for the end.
func (t *translator) entries(root string, list *node) {
	for i, entry := range list.items {
		key := fmt.Sprintf("%s[%d]", root, i)
		if isSplit(entry) {
			t.splits = append(t.splits, deferred{key, entry})
			continue
		}
		t.entry(root, key, entry)
	}
}

// entry translates one element of a list.
func (t *translator) entry(root, key string, n *node) {
	if n.kind != aMapping {
		t.leave(n, key, "it is %s; an entry is a mapping", n.kind)
		return
	}
	name, ok := t.name(n, key)
	if !ok {
		return
	}
	family, kind, ok := t.kind(root, key, n)
	if !ok {
		return
	}
	m, ok := t.model(n, key+".model", name, kind)
	if !ok {
		return
	}
	if _, twice := t.names[name]; twice {
		t.leave(n, key+".name", "%q is the name of an earlier entry", name)
		return
	}
	t.names[name] = ""
	if family == string(inference.Endpoints) {
		t.names[name] = kind
	}
	table := &strings.Builder{}
	fmt.Fprintf(table, "[[%s]]\nname = %s\n%s_type = %s\n", family, quote(name), strings.TrimSuffix(family, "s"), quote(kind))
	t.limit(table, n.get("limit"), key+".limit", family)
	fmt.Fprintf(table, "[%s.model]\nprovider = %s\n", family, quote(m.provider))
	if m.name != "" {
		fmt.Fprintf(table, "name = %s\n", quote(m.name))
	}
	fmt.Fprintf(table, "[%s.model.config]\n%s", family, m.config)
	t.out.Keys = append(t.out.Keys, m.keys...)
	t.tables = append(t.tables, table.String())
	t.out.Routes++
	for _, k := range n.keys {
		if !slices.Contains([]string{"name", "route_type", "endpoint_type", "model", "limit"}, k) {
			t.ignore(n.at[k], key+"."+k)
		}
	}
}

func (t *translator) name(n *node, key string) (string, bool) {
	name := n.get("name")
	switch {
	case name == nil:
		t.leave(n, key+".name", "an entry needs a name")
	case name.kind != aText:
		t.leave(name, key+".name", "it is %s; put it in quotes", name.kind)
	case !regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`).MatchString(name.text):
		t.leave(name, key+".name", "%q: a name has up to 128 letters a to z, digits, - _ and .", name.text)
	default:
		return name.text, true
	}
	return "", false
}

// kind is the list and the type of an entry. The key of the type decides the list, and so the dialect.
func (t *translator) kind(root, key string, n *node) (family, kind string, ok bool) {
	family = root
	typ, typKey := n.get("route_type"), "route_type"
	if typ != nil {
		family = string(inference.Routes)
	}
	if newer := n.get("endpoint_type"); newer != nil {
		typ, typKey, family = newer, "endpoint_type", string(inference.Endpoints)
	}
	if typ == nil {
		t.leave(n, key, "an entry needs a route_type or an endpoint_type")
		return "", "", false
	}
	known := []string{string(inference.Completions), string(inference.Chat), string(inference.Embeddings)}
	if typ.kind != aText || !slices.Contains(known, typ.text) {
		t.leave(typ, key+"."+typKey, "it must be one of %s", strings.Join(known, ", "))
		return "", "", false
	}
	return family, typ.text, true
}

// model is how a model is asked.
type model struct {
	provider string
	name     string // "" = it has none
	config   string // lines of TOML
	keys     []Key
}

// model reads the model of an entry, whose name and type are given.
func (t *translator) model(n *node, key, entry, kind string) (m model, ok bool) {
	given := n.get("model")
	if given == nil || given.kind != aMapping {
		t.leave(n, key, "an entry needs a model with provider and config")
		return m, false
	}
	provider := given.get("provider")
	if provider == nil || provider.kind != aText {
		t.leave(given, key+".provider", "a model needs a provider")
		return m, false
	}
	m.provider = config.ProviderName(provider.text)
	if !slices.Contains(config.Providers(), m.provider) {
		t.leave(provider, key+".provider", "the provider %q is not available yet; there are %s", provider.text, strings.Join(config.Providers(), ", "))
		return m, false
	}
	if name := given.get("name"); name != nil && name.kind != aNull {
		if name.kind != aText {
			t.leave(name, key+".name", "it is %s; put it in quotes", name.kind)
			return m, false
		}
		m.name = name.text
	}
	if m.provider == config.ProviderMLflow {
		ok = t.served(&m, given, key+".config")
	} else {
		v := &vendor{t: t, key: key + ".config", model: given, settings: given.get("config"), m: &m, entry: entry, kind: kind}
		ok = v.read()
	}
	for _, k := range given.keys {
		if !slices.Contains([]string{"name", "provider", "config"}, k) {
			t.ignore(given.at[k], key+"."+k)
		}
	}
	return m, ok
}

// served writes the address of a model server.
func (t *translator) served(m *model, given *node, key string) bool {
	server, ok := t.server(given, key)
	if !ok {
		return false
	}
	user := server.User
	server.User, server.Fragment, server.RawFragment = nil, "", "" // a fragment is never sent
	m.config = fmt.Sprintf("model_server_url = %s\n", quote(server.String()))
	if user != nil {
		password, _ := user.Password()
		secret := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		m.config += fmt.Sprintf("# better kept out of the file: \"env:NAME\" or \"file:PATH\"\nheaders = {Authorization = %s}\n", quote("Basic "+secret))
	}
	return true
}

func (t *translator) server(model *node, key string) (*url.URL, bool) {
	settings := model.get("config")
	if settings == nil || settings.kind != aMapping {
		t.leave(model, key, "a config with model_server_url is needed")
		return nil, false
	}
	at := settings.get("model_server_url")
	if at == nil || at.kind != aText {
		t.leave(settings, key+".model_server_url", "it must be the address of a model server, as text")
		return nil, false
	}
	u, err := url.Parse(strings.TrimSpace(at.text))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		t.leave(at, key+".model_server_url", "this is not an address that begins with http:// or https://; every call would fail, in MLflow as well")
		return nil, false
	}
	plain := *u
	plain.User, plain.Fragment = nil, ""
	if problem := config.CheckURL(plain.String()); problem != "" {
		t.leave(at, key+".model_server_url", "the address %s; every call would fail, in MLflow as well", problem)
		return nil, false
	}
	for _, k := range settings.keys {
		if k != "model_server_url" {
			t.ignore(settings.at[k], key+"."+k)
		}
	}
	return u, true
}

// limit writes a limit, as a comment where MLflow did not obey it. An entry whose limit cannot be kept is
// translated without it.
func (t *translator) limit(table *strings.Builder, n *node, key, family string) {
	if n == nil || n.kind == aNull {
		return
	}
	calls, period, per := n.get("calls"), n.get("renewal_period"), n.get("key")
	count := countOf(calls)
	wrong := ""
	switch {
	case count < 0 || count > math.MaxInt32:
		wrong = "calls must be a whole number from 0 to 2147483647"
	case period == nil || period.kind != aText:
		wrong = `renewal_period must be text, as in "minute"`
	case per != nil && per.kind != aNull && per.kind != aText:
		wrong = "key must be text"
	default:
		if _, err := config.ParsePeriod(period.text); err != nil {
			wrong = err.Error()
		}
	}
	if wrong != "" {
		if family == string(inference.Routes) { // MLflow did not look at it
			t.out.Left = append(t.out.Left, Left{Line: n.line, Key: key, Message: wrong + "; MLflow 2.8 ignored it", Ignored: true})
			return
		}
		t.leave(n, key, "%s; the entry was translated without its limit", wrong)
		return
	}
	line := fmt.Sprintf("limit = {calls = %d, renewal_period = %s}\n", count, quote(period.text))
	if per != nil && per.kind == aText {
		line = fmt.Sprintf("limit = {calls = %d, renewal_period = %s, key = %s}\n", count, quote(period.text), quote(per.text))
	}
	if family == string(inference.Routes) {
		fmt.Fprintf(table, "# MLflow 2.8 ignored this limit; later versions keep it, and so does Headrace:\n# %s", line)
		return
	}
	table.WriteString(line)
}

// countOf is a number of calls, in the spellings that MLflow takes: 5, "5", 5.0 and true; -1 when it is none.
func countOf(n *node) int {
	switch {
	case n == nil:
	case n.kind == aBool && slices.Contains(strings.Fields("true yes on"), strings.ToLower(n.text)):
		return 1
	case n.kind == aBool:
		return 0
	case n.kind == aNumber || n.kind == aText:
		whole, fraction, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(n.text), "_", ""), ".")
		if count, err := strconv.Atoi(whole); err == nil && strings.Trim(fraction, "0") == "" {
			return count
		}
	}
	return -1
}

func (t *translator) text() string {
	var b strings.Builder
	b.WriteString("# Translated from MLflow's configuration by `headrace import`. docs/configuration.md explains every key.\n")
	for _, l := range t.out.Left {
		if !l.Ignored {
			b.WriteString("# not translated: " + strings.ReplaceAll(l.String(), "\n", " ") + "\n")
		}
	}
	// [[routes]] and [[endpoints]] may alternate in TOML.
	for _, table := range t.tables {
		b.WriteString("\n" + table)
	}
	return b.String()
}

// quote writes a TOML string: JSON's escapes are a part of TOML's.
func quote(s string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string always has a JSON form
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\u007f", `\u007f`)
}

package config

import (
	"crypto/sha256"
	"os"
	"reflect"
	"slices"

	"headrace/internal/inference"
)

// Source is a configuration file that may change. It compares content, not times or names, so it also sees a
// symbolic link that now points elsewhere, as Kubernetes swaps a ConfigMap's. It is not safe for concurrent use.
type Source struct {
	path    string
	current *Config
	known   origin                      // what current, or the last complaint, was made from
	before  digest                      // at the last look
	serves  func(*inference.Route) bool // by the workers of this process; nil: it has none
}

// NewSource makes a source whose content is current. What has changed since that was read counts as a change.
func NewSource(current *Config) *Source {
	return &Source{path: current.Path, current: current, known: current.from, before: current.from.digest}
}

// NeedKeys makes a configuration invalid of which this process cannot read the credentials of the routes that it serves.
func (s *Source) NeedKeys(serves func(*inference.Route) bool) { s.serves = serves }

// digest tells contents apart.
type digest [sha256.Size]byte

// usedFile is a file that a value was, or was to be, taken from.
type usedFile struct {
	path string
	sum  digest // of its content; zero: it could not be read
}

// useFile reads a file that a value comes from.
func useFile(path string) (used usedFile, text []byte, err error) {
	used.path = path
	if text, err = os.ReadFile(path); err == nil { //nolint:gosec // the user names the file
		used.sum = sha256.Sum256(text)
	}
	return used, text, err
}

// origin is what a configuration was made from: the text of its file, and the files that this names.
type origin struct {
	used   []usedFile
	digest digest // of all of it
}

func newOrigin(text []byte, used []usedFile) origin {
	hash := sha256.New()
	hash.Write(text)
	for _, file := range used {
		hash.Write(file.sum[:])
	}
	return origin{used: used, digest: digest(hash.Sum(nil))}
}

// Look reads the file again. It returns a configuration when there is a new, valid one, and an error when the
// file has become invalid or unreadable; both once for each change. A change counts when two looks in a row find
// the same, so that a file being written is not taken for an invalid one. Routes that are as they were keep their
// identity.
func (s *Source) Look() (*Config, error) {
	now, text := s.read()
	settled := now == s.before
	s.before = now
	if now == s.known.digest || !settled {
		return nil, nil //nolint:nilnil // nothing new is neither a configuration nor an error
	}
	if text == nil {
		s.known.digest = now
		_, err := Load(s.path)
		return nil, err
	}
	return s.take(text)
}

// Reload reads the file at once, also when it has not changed, and says again what is wrong with it.
func (s *Source) Reload() (*Config, error) {
	now, text := s.read()
	s.before = now
	if text == nil {
		s.known.digest = now
		_, err := Load(s.path)
		return nil, err
	}
	return s.take(text)
}

// Same reports whether two configurations were read from the same text and the same files.
func Same(a, b *Config) bool { return a.from.digest == b.from.digest }

// Current is the configuration that Look or Reload returned last, or the first one.
func (s *Source) Current() *Config { return s.current }

// take makes a new text the current configuration when it is valid. One that leaves no route is refused: a file that is
// just being written, or was emptied by mistake, looks like that, and would turn every call into a 404.
func (s *Source) take(text []byte) (*Config, error) {
	next, from, err := parse(s.path, text)
	s.known, s.before = from, from.digest // it may name other files now, also when it is not valid
	if err == nil && s.serves != nil {
		err = next.Keys(s.serves)
	}
	if err != nil {
		return nil, err
	}
	if next.Table.Len() == 0 && s.current.Table.Len() > 0 {
		return nil, &InvalidError{Problems: []Problem{{
			File: s.path, Message: "no route is left", Hint: "a reload does not take the last route away; restart Headrace if this is meant",
		}}}
	}
	next.Table = keep(s.current.Table, next.Table)
	s.current = next
	return next, nil
}

// read gives the file's text, nil when it cannot be read, and the digest of it and of the files it named before.
func (s *Source) read() (digest, []byte) {
	text, err := os.ReadFile(s.path)
	if err != nil {
		return digest{}, nil
	}
	used := make([]usedFile, len(s.known.used))
	for i, file := range s.known.used {
		used[i], _, _ = useFile(file.path) // what cannot be read has a digest of its own
	}
	return newOrigin(text, used).digest, text
}

// keep replaces routes of next by equal ones of old, so that a comparison of the tables shows what has changed.
func keep(old, next *inference.Table) *inference.Table {
	var routes []*inference.Route
	for r := range next.All() {
		if was := old.Route(r.Name); was != nil && reflect.DeepEqual(was, r) {
			r = was
		}
		routes = append(routes, r)
	}
	return inference.NewTable(routes...).WithSplits(slices.Collect(next.Splits())...)
}

// NeedRestart names the keys whose new values take effect only after a restart.
func NeedRestart(old, next *Config) []string {
	var keys []string
	differ := func(key string, a, b any) {
		if !reflect.DeepEqual(a, b) {
			keys = append(keys, key)
		}
	}
	differ("api.listen", old.API.Listen, next.API.Listen)
	differ("api.max_body", old.API.MaxBody, next.API.MaxBody)
	differ("api.max_inflight_bytes", old.API.MaxInflightBytes, next.API.MaxInflightBytes)
	differ("api.shutdown_grace", old.API.ShutdownGrace, next.API.ShutdownGrace)
	differ("api.admin_token", old.API.AdminToken, next.API.AdminToken)
	differ("api.recent_calls", old.API.RecentCalls, next.API.RecentCalls)
	differ("api.trusted_proxies", old.API.TrustedProxies, next.API.TrustedProxies)
	differ("broker.url", old.Broker.URL, next.Broker.URL)
	differ("broker.listen", old.Broker.Listen, next.Broker.Listen)
	differ("broker.expose", old.Broker.Expose, next.Broker.Expose)
	differ("broker.data_dir", old.Broker.DataDir, next.Broker.DataDir)
	differ("broker.durability", old.Broker.Durability, next.Broker.Durability)
	differ("broker.server_syncs", old.Broker.ServerSyncs, next.Broker.ServerSyncs)
	differ("broker.max_memory", old.Broker.MaxMemory, next.Broker.MaxMemory)
	differ("broker.max_store", old.Broker.MaxStore, next.Broker.MaxStore)
	differ("broker.user", old.Broker.User, next.Broker.User)
	differ("broker.password", old.Broker.Password, next.Broker.Password)
	differ("broker.credentials", old.Broker.Credentials, next.Broker.Credentials)
	differ("broker.tls_ca", old.Broker.TLSCA, next.Broker.TLSCA)
	differ("broker.ops_listen", old.Broker.OpsListen, next.Broker.OpsListen)
	differ("jobs", old.Jobs, next.Jobs)
	differ("worker.max_inflight_bytes", old.Worker.MaxInflightBytes, next.Worker.MaxInflightBytes)
	differ("worker.ops_listen", old.Worker.OpsListen, next.Worker.OpsListen)
	slices.Sort(keys)
	return keys
}

package config

import (
	"bytes"
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
	known   [sha256.Size]byte // digest of what current, or the last complaint, was made from
	before  [sha256.Size]byte // digest at the last look
}

// NewSource makes a source whose content is current.
func NewSource(current *Config) *Source {
	s := &Source{path: current.Path, current: current}
	s.known, _ = s.digest()
	s.before = s.known
	return s
}

// Look reads the file again. It returns a configuration when there is a new, valid one, and an error when the
// file has become invalid or unreadable; both once for each change. A change counts when two looks in a row find
// the same, so that a file being written is not taken for an invalid one. Routes that are as they were keep their
// identity.
func (s *Source) Look() (*Config, error) {
	digest, text := s.digest()
	settled := digest == s.before
	s.before = digest
	if digest == s.known || !settled {
		return nil, nil //nolint:nilnil // nothing new is neither a configuration nor an error
	}
	s.known = digest
	if text == nil {
		_, err := Load(s.path)
		return nil, err
	}
	next, err := Parse(s.path, text)
	if err != nil {
		return nil, err
	}
	next.Table = keep(s.current.Table, next.Table)
	s.current = next
	s.known, _ = s.digest() // it may use other files now
	s.before = s.known
	return next, nil
}

// digest covers the file and those that its values come from. text is nil when it cannot be read.
func (s *Source) digest() (digest [sha256.Size]byte, text []byte) {
	hash := sha256.New()
	text, err := os.ReadFile(s.path)
	if err != nil {
		return digest, nil
	}
	hash.Write(text)
	for _, path := range s.current.used {
		secret, err := os.ReadFile(path) //nolint:gosec // the user names the file
		sum := sha256.Sum256(secret)
		hash.Write(sum[:])
		if err != nil {
			hash.Write([]byte("unreadable"))
		}
	}
	return [sha256.Size]byte(hash.Sum(nil)), bytes.Clone(text)
}

// keep replaces routes of next by equal ones of old, so that whoever compares tables sees what has changed.
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
	differ("api.trusted_proxies", old.API.TrustedProxies, next.API.TrustedProxies)
	differ("broker.url", old.Broker.URL, next.Broker.URL)
	differ("broker.listen", old.Broker.Listen, next.Broker.Listen)
	differ("broker.expose", old.Broker.Expose, next.Broker.Expose)
	differ("broker.data_dir", old.Broker.DataDir, next.Broker.DataDir)
	differ("broker.durability", old.Broker.Durability, next.Broker.Durability)
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

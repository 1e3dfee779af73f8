// Package config reads gateway.toml.
//
// Everything that is wrong with a file is reported at once, each problem with its line, its key and what would
// be right. It is the only package that knows TOML.
package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"headrace/internal/inference"
)

// Config is a whole gateway.toml with defaults filled in. It is immutable.
type Config struct {
	Path   string
	API    API
	Broker Broker
	Worker Worker
	Jobs   Jobs
	Table  *inference.Table
	// Warnings are what is allowed and probably not meant, in the order of their lines.
	Warnings []Problem

	keys []missingKey
	from origin
}

// Keys says which credentials of vendors this process cannot read, of the routes that it serves as a worker; nil serves all.
// It is an *InvalidError, or nil. Only workers need credentials: the other roles run without.
func (c *Config) Keys(serves func(*inference.Route) bool) error {
	var problems []Problem
	for _, k := range c.keys {
		if r := c.Table.Route(k.route); serves == nil || r == nil || serves(r) {
			problems = append(problems, k.problem)
		}
	}
	if problems == nil {
		return nil
	}
	return &InvalidError{Problems: problems}
}

// API is the table [api].
type API struct {
	Listen           string
	Exposed          bool // listening beyond loopback is meant
	MaxBody          int64
	MaxInflightBytes int64
	SyncTimeout      time.Duration
	StreamHeartbeat  time.Duration
	ShutdownGrace    time.Duration
	TrustedProxies   []netip.Prefix
	RecentCalls      int    // that the dashboard remembers
	AdminToken       string // "" = none
}

// Local reports whether only this machine can reach the front end.
func (a API) Local() bool { return loopback(a.Listen) }

// Broker is the table [broker].
type Broker struct {
	URL             string
	Listen          string
	Expose          bool
	DataDir         string
	Durability      string // what is promised: "server" where "power" or "process" was asked of a server that may not sync
	ServerSyncs     bool   // the operator says that the external servers sync each write
	MaxWaiting      int
	MaxWaitingBytes int64
	MaxMemory       int64
	MaxStore        int64
	User, Password  string
	Credentials     string // path of a NATS credentials file
	TLSCA           string
	OpsListen       string
}

// Jobs is the table [jobs].
type Jobs struct {
	MaxRetained  int
	MaxWaiting   int    // of one route
	ListFile     string // "" = in broker.data_dir
	Recent       int64  // bytes of records
	ResultTTL    time.Duration
	MaxResultTTL time.Duration
	Deadline     time.Duration
	MaxDeadline  time.Duration
	MaxWait      time.Duration
	MaxAttempts  int
	KeyLife      time.Duration
}

// Worker is the table [worker].
type Worker struct {
	Slots            int
	MaxReply         int64
	StreamIdle       time.Duration
	StreamMax        time.Duration
	StreamMaxEvent   int64
	MaxInflightBytes int64
	Timeout          time.Duration
	ConnectTimeout   time.Duration
	OpsListen        string
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"` // 0 = of the whole file
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// String is "file:line: key: message (hint)".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// InvalidError is every problem of a configuration, in the order of its lines.
type InvalidError struct{ Problems []Problem }

// Error has one problem a line.
func (e *InvalidError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads a file. What is wrong with it is an *InvalidError.
func Load(path string) (*Config, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the user names the file
	if err != nil {
		hint := "name another file with --config or HEADRACE_CONFIG"
		message := err.Error()
		if errors.Is(err, os.ErrNotExist) {
			message = "there is no such file"
		}
		return nil, &InvalidError{Problems: []Problem{{File: path, Message: message, Hint: hint}}}
	}
	return Parse(path, text)
}

// LongestWait is the longest time that any call may wait for a slot.
func (c *Config) LongestWait() time.Duration {
	longest := c.API.SyncTimeout
	for r := range c.Table.All() {
		longest = max(longest, r.SyncTimeout)
	}
	return longest
}

package e2e_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"headrace/e2e/history"
)

// chaosSettings come from the environment; the defaults are those of a short run.
type chaosSettings struct {
	length     time.Duration // CHAOS: of the faults
	seed       uint64        // SEED
	kills      int           // KILLS: at least
	jobs       int           // JOBS: at most
	batch      int           // BATCH: mean size of a batch
	backlog    int           // BACKLOG: jobs that wait at most
	clients    int           // CLIENTS: of each kind
	durability string        // DURABILITY
	dir        string        // CHAOS_DIR: of the broker's files; "" = a small file system in memory
	logs       string        // CHAOS_LOGS: where the processes' output stays; "" = nowhere
	diskSize   int64
	large      int               // LARGE: how many jobs there are for one whose input and result do not fit into its record
	lease      time.Duration     // LEASE: of a running job, where the binary was built with another one
	pace       bool              // PACE: the jobs are spread over the faults
	linger     time.Duration     // LINGER: how long the model server takes at most
	power      int               // POWER: how often everything loses its power; the binary must keep a copy of what it has synced
	until      history.Invariant // UNTIL: the run ends once this promise is seen broken
	report     string            // REPORT: where the violations are written to, for programs; "" = nowhere
}

func readChaosSettings(t *testing.T) chaosSettings {
	t.Helper()
	s := chaosSettings{durability: cmp.Or(os.Getenv("DURABILITY"), "process"), dir: os.Getenv("CHAOS_DIR"), logs: os.Getenv("CHAOS_LOGS"), diskSize: 6 << 30}
	number := func(name string, otherwise int) int {
		n, err := strconv.Atoi(cmp.Or(os.Getenv(name), strconv.Itoa(otherwise)))
		if err != nil || n < 0 {
			t.Fatalf("%s must be a whole number: %q", name, os.Getenv(name))
		}
		return n
	}
	var err error
	if s.length, err = time.ParseDuration(cmp.Or(os.Getenv("CHAOS"), "10s")); err != nil || s.length <= 0 {
		t.Fatalf("CHAOS must be a duration such as 10m: %q", os.Getenv("CHAOS"))
	}
	if s.seed, err = strconv.ParseUint(cmp.Or(os.Getenv("SEED"), strconv.FormatInt(time.Now().UnixNano(), 10)), 10, 64); err != nil {
		t.Fatalf("SEED: %v", err)
	}
	s.kills = number("KILLS", int(s.length/(4*time.Second)))
	s.jobs, s.batch = number("JOBS", 1_000_000), number("BATCH", 100)
	s.backlog, s.clients = number("BACKLOG", 5000), number("CLIENTS", 2)
	s.large, s.power = max(number("LARGE", 500), 1), number("POWER", 0)
	s.until, s.report = history.Invariant(os.Getenv("UNTIL")), os.Getenv("REPORT")
	if s.lease, err = time.ParseDuration(cmp.Or(os.Getenv("LEASE"), "30s")); err != nil || s.lease <= 0 {
		t.Fatalf("LEASE must be a duration: %q", os.Getenv("LEASE"))
	}
	if s.linger, err = time.ParseDuration(cmp.Or(os.Getenv("LINGER"), "0s")); err != nil {
		t.Fatalf("LINGER must be a duration: %q", os.Getenv("LINGER"))
	}
	s.pace = os.Getenv("PACE") != ""
	return s
}

// write writes a report down for a program that has started the run.
func (s chaosSettings) write(t *testing.T, r history.Report) {
	t.Helper()
	if s.report == "" {
		return
	}
	text, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(s.report, text, 0o600)
	}
	if err != nil {
		t.Errorf("REPORT: %v", err)
	}
}

// repeat is the command that runs the same schedule again.
func (s chaosSettings) repeat() string {
	var more strings.Builder
	for _, name := range []string{"LARGE", "LEASE", "PACE", "LINGER", "POWER", "UNTIL", "BINARY"} {
		if value := os.Getenv(name); value != "" {
			fmt.Fprintf(&more, "%s=%q ", name, value)
		}
	}
	return more.String() + fmt.Sprintf("CHAOS=%s SEED=%d KILLS=%d JOBS=%d BATCH=%d BACKLOG=%d CLIENTS=%d DURABILITY=%s CHAOS_DIR=%q go test -count=1 -timeout 2h -v -run '^TestChaos$' ./e2e",
		s.length, s.seed, s.kills, s.jobs, s.batch, s.backlog, s.clients, s.durability, s.dir)
}

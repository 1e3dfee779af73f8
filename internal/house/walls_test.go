package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wall is an import and whether the linter must refuse it.
type wall struct {
	from string // the file that imports
	to   string // what it imports
	open bool   // it may
}

// walls has the import graph of ARCHITECTURE.md, edge by edge: each rule bites where it should, and not beside it.
func walls() []wall {
	const nats, mux, toml, yaml = "github.com/nats-io/nats.go", "github.com/gorilla/mux", "github.com/BurntSushi/toml", "github.com/goccy/go-yaml"
	all := []wall{
		{from: "main.go", to: "headrace/api"},
		{from: "main.go", to: "headrace/broker/link"},
		{from: "main.go", to: "headrace/worker"},
		{from: "api/x.go", to: nats},
		{from: "api/dialect/x.go", to: nats},
		{from: "api/dialect/x.go", to: "net/http"},
		{from: "api/dialect/x.go", to: "headrace/internal/budget/leaf"},
		{from: "api/dialect/x.go", to: "headrace/internal/config/leaf"},
		{from: "api/dialect/x.go", to: "headrace/api/openapi/leaf"},
		{from: "api/dialect/x.go", to: "headrace/api/schema/leaf", open: true},
		{from: "api/dialect/x.go", to: "headrace/internal/inference/leaf", open: true},
		{from: "api/dialect/x.go", to: "headrace/internal/fault/leaf", open: true},
		{from: "api/dialect/x.go", to: "headrace/internal/splice/leaf", open: true},
		{from: "api/dialect/x.go", to: "headrace/internal/job/leaf", open: true},
		{from: "api/dialect/x.go", to: "headrace/api/dialect/pieces/leaf", open: true},
		{from: "api/dialect/pieces/x.go", to: "headrace/api/schema/leaf", open: true},
		{from: "api/dialect/pieces/x.go", to: "headrace/internal/job/leaf"},
		{from: "api/dialect/pieces/x.go", to: "headrace/api/leaf"},
		{from: "api/schema/x.go", to: "headrace/api/dialect/leaf"},
		{from: "api/problem/x.go", to: "headrace/api/dialect/leaf", open: true},
		{from: "api/problem/x.go", to: "headrace/internal/fault/leaf", open: true},
		{from: "api/problem/x.go", to: "headrace/api/leaf"},
		{from: "api/problem/x.go", to: "headrace/internal/budget/leaf"},
		{from: "api/jobspec/x.go", to: "headrace/api/problem/leaf", open: true},
		{from: "api/jobspec/x.go", to: "headrace/internal/job/leaf", open: true},
		{from: "api/jobspec/x.go", to: "headrace/api/jobfilter/leaf"},
		{from: "api/jobspec/x.go", to: "headrace/internal/budget/leaf"},
		{from: "api/jobfilter/x.go", to: "headrace/api/problem/leaf", open: true},
		{from: "api/jobfilter/x.go", to: "headrace/api/dialect/leaf"},
		{from: "api/jobfilter/x.go", to: "headrace/internal/inference/leaf"},
		{from: "api/guard/x.go", to: "headrace/internal/fault/leaf", open: true},
		{from: "api/guard/x.go", to: "headrace/api/dashboard/leaf"},
		{from: "api/dashboard/x.go", to: "headrace/api/dashboard/recent/leaf", open: true},
		{from: "api/dashboard/x.go", to: "headrace/api/problem/leaf", open: true},
		{from: "api/dashboard/x.go", to: "headrace/api/dialect/leaf"},
		{from: "api/dashboard/x.go", to: "headrace/api/guard/leaf"},
		{from: "api/dashboard/x.go", to: "headrace/internal/budget/leaf"},
		{from: "api/dashboard/chart/x.go", to: "headrace/internal/fault/leaf"},
		{from: "api/dashboard/recent/x.go", to: "headrace/internal/fault/leaf", open: true},
		{from: "api/dashboard/recent/x.go", to: "headrace/internal/inference/leaf"},
		{from: "api/dashboard/recent/x.go", to: "headrace/api/dashboard/leaf"},
		{from: "api/openapi/x.go", to: "headrace/api/dialect/leaf"},
		{from: "api/openapi/x.go", to: "headrace/internal/fault/leaf"},
		{from: "worker/x.go", to: nats},
		{from: "internal/app/x.go", to: nats},
		{from: "internal/natstest/x.go", to: nats, open: true},
		{from: "internal/brokertest/x.go", to: nats, open: true},
		{from: "worker/learned/x.go", to: "headrace/worker/batch/leaf", open: true},
		{from: "worker/learned/x.go", to: "headrace/worker/target/leaf"},
		{from: "worker/learned/x.go", to: "headrace/internal/provider/leaf"},
		{from: "worker/target/x.go", to: "headrace/internal/provider/leaf", open: true},
		{from: "worker/target/x.go", to: "headrace/worker/batch/leaf"},
		{from: "worker/target/x.go", to: "headrace/worker/learned/leaf"},
		{from: "worker/batch/x.go", to: "headrace/worker/learned/leaf"},
		{from: "broker/runner/x.go", to: "headrace/internal/lanetest"},
		{from: "worker/x.go", to: "headrace/internal/lease/leaf", open: true},
		{from: "broker/intake/x.go", to: "headrace/internal/lease/leaf", open: true},
		{from: "broker/jobs/x.go", to: "headrace/internal/brokertest"},
		{from: "api/routes.go", to: mux, open: true},
		{from: "api/x.go", to: mux},
		{from: "internal/app/x.go", to: mux},
		{from: "internal/config/x.go", to: toml, open: true},
		{from: "internal/app/x.go", to: toml},
		{from: "internal/config/mlflowyaml/x.go", to: yaml, open: true},
		{from: "internal/config/x.go", to: yaml},
		{from: "internal/app/x.go", to: "headrace/internal/natstest"},
		{from: "internal/app/x_test.go", to: "headrace/internal/natstest", open: true},
		{from: "broker/link/x.go", to: "headrace/internal/mlflowtest"},
		{from: "broker/link/x.go", to: "testing"},
	}
	for _, room := range []string{"natsd", "link", "keeper", "parcel", "intake", "calls", "records", "runner", "limit"} {
		all = append(all, wall{from: "broker/" + room + "/x.go", to: nats, open: true})
	}
	for _, room := range []string{"jobs", "sweeper"} {
		for _, to := range []string{nats, "github.com/nats-io/nats.go/jetstream", "github.com/nats-io/nats-server/v2/server"} {
			all = append(all, wall{from: "broker/" + room + "/x.go", to: to}, wall{from: "broker/" + room + "/x_test.go", to: to, open: true})
		}
	}
	folders := []string{"api", "api/dialect", "api/schema", "broker", "broker/link", "broker/sweeper", "worker", "worker/batch", "worker/learned", "worker/target"}
	for _, from := range folders {
		for _, to := range []string{"api", "broker", "worker", "internal/app", "internal/cli"} {
			if strings.Split(from, "/")[0] != to {
				all = append(all, wall{from: from + "/x.go", to: "headrace/" + to + "/leaf"})
			}
		}
	}
	for _, part := range []string{"client", "jobfile", "terminal", "probe"} {
		for _, to := range []string{"headrace/internal/app/leaf", "headrace/internal/cli"} {
			all = append(all, wall{from: "internal/" + part + "/x.go", to: to})
		}
	}
	all = append(all, wall{from: "internal/view/x.go", to: "headrace/internal/client/leaf"}, wall{from: "internal/view/x.go", to: "headrace/internal/terminal/leaf", open: true})
	for _, words := range []string{"inference", "job", "fault", "lease"} {
		for _, to := range []string{"headrace/internal/config/leaf", "headrace/api/leaf", mux} {
			all = append(all, wall{from: "internal/" + words + "/x.go", to: to})
		}
	}
	for _, from := range []string{"internal/provider", "internal/provider/mlflow", "internal/provider/openai", "internal/provider/anthropic", "internal/provider/pieces", "internal/provider/vendors", "internal/upstream"} {
		for _, to := range []string{"api", "broker/link", "worker"} {
			all = append(all, wall{from: from + "/x.go", to: "headrace/" + to + "/leaf"})
		}
	}
	return append(all, rooms()...)
}

// rooms has each pair of rooms below broker.
func rooms() []wall {
	doors := map[string][]string{
		"natsd": {"link"}, "link": nil, "keeper": {"link"}, "parcel": {"link"}, "limit": {"link"}, "intake": {"link"}, "records": {"link"},
		"calls": {"intake", "parcel", "link"}, "jobs": {"records", "link"}, "sweeper": {"records", "link"}, "runner": {"records", "intake", "link"},
	}
	var all []wall
	for from, open := range doors {
		for to := range doors {
			if from != to {
				all = append(all, wall{from: "broker/" + from + "/x.go", to: "headrace/broker/" + to + "/leaf", open: slices.Contains(open, to)})
			}
		}
	}
	return all
}

// TestEachWallBites gives the linter a checkout of nothing but imports and compares what it refuses with the graph.
func TestEachWallBites(t *testing.T) {
	t.Parallel()
	linter := os.Getenv("LINT")
	if linter == "" {
		t.Skip("LINT names no golangci-lint; `make lint` runs this test with the one of this checkout")
	}
	root := checkout(t, imports(t, walls()))
	cmd := exec.CommandContext(t.Context(), linter, "run", "--enable-only", "depguard", "--max-issues-per-linter", "0", "--max-same-issues", "0",
		"--output.json.path", "stdout", "--issues-exit-code", "0", "--show-stats=false", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	refused := report(t, out)
	for _, w := range walls() {
		edge := w.from + " imports " + w.to
		if got := refused[edge]; got == w.open {
			t.Errorf("%s: refused %t", edge, got)
		}
	}
}

// imports makes the files of a checkout of this module in which each wall is tried. A file imports everything that is tried
// from it; packages named leaf import nothing, so that no cycle comes about.
func imports(t *testing.T, walls []wall) map[string]string {
	t.Helper()
	files := make(map[string]string)
	for _, name := range []string{"go.mod", "go.sum", ".golangci.yml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	for _, w := range walls {
		for _, file := range []string{w.from, strings.TrimPrefix(w.to, "headrace/") + "/package.go"} {
			if file == w.from || strings.HasPrefix(w.to, "headrace/") {
				files[file] = "package " + packageOf(file) + "\n"
			}
		}
	}
	for _, w := range walls {
		files[w.from] += fmt.Sprintf("\nimport _ %q\n", w.to)
	}
	files["main.go"] += "\nfunc main() {}\n"
	return files
}

func packageOf(file string) string {
	folder := filepath.Base(filepath.Dir(file))
	if folder == "." {
		return "main"
	}
	return folder
}

// report reads what the linter has refused, as "file imports package".
func report(t *testing.T, out []byte) map[string]bool {
	t.Helper()
	var found struct {
		Issues []struct {
			FromLinter string
			Text       string
			Pos        struct{ Filename string }
		}
	}
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	refused := make(map[string]bool)
	for _, issue := range found.Issues {
		if issue.FromLinter != "depguard" {
			t.Fatalf("the checkout of imports is broken: %+v", issue)
		}
		_, rest, _ := strings.Cut(issue.Text, "'")
		to, _, _ := strings.Cut(rest, "'")
		refused[filepath.ToSlash(issue.Pos.Filename)+" imports "+to] = true
	}
	return refused
}

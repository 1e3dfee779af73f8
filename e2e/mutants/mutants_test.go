// Package mutants_test proves that the torture test finds what it is for: each mutant breaks one promise, and a short run
// must say which one.
package mutants_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"headrace/e2e/history"
	"headrace/e2e/mortal"
)

// mutantTime bounds one short run.
const mutantTime = 2 * time.Minute

// Each mutant, and what is changed for all of them, applies to the source as it is. This is fast: nothing is built.
func TestMutantsApply(t *testing.T) {
	t.Parallel()
	known := make(map[string]bool)
	for _, m := range append(table(), mutant{name: "none"}) {
		if known[m.name] {
			t.Errorf("there are two that are called %s", m.name)
		}
		known[m.name] = true
		if _, err := m.tree(); err != nil {
			t.Error(err)
		}
	}
	broken := make(map[history.Invariant]bool)
	for _, m := range table() {
		broken[m.breaks] = true
	}
	for _, i := range history.Invariants() {
		if !broken[i] {
			t.Errorf("no mutant breaks %s", i)
		}
	}
}

// mutant is a way to break one promise.
type mutant struct {
	name   string
	breaks history.Invariant
	edits  []edit
	more   string // of a file of its own, beside the first edit
}

// tree is the source with the mutant in it.
func (m mutant) tree() (*tree, error) {
	t, err := readTree()
	if err != nil {
		return nil, err
	}
	edits, more := instruments()
	if err := t.apply("instruments", edits, more); err != nil {
		return nil, err
	}
	return t, t.apply(m.name, m.edits, m.more)
}

// outcome is what a run came to.
type outcome struct {
	report  history.Report
	passed  bool
	seconds float64
	output  string
}

// TestMutants builds each mutant and lets a short run of TestChaos catch it, with a fixed seed. What is not mutated passes the
// same run. MUTANTS=1 is needed, as it takes some minutes; -run 'TestMutants/a_name' takes one.
func TestMutants(t *testing.T) { //nolint:paralleltest // one after the other: each is many processes
	if os.Getenv("MUTANTS") == "" {
		t.Skip("MUTANTS=1 runs it")
	}
	dir := t.TempDir()
	chaos := filepath.Join(dir, "chaos.test")
	command(t, "go", "test", "-c", "-o", chaos, "headrace/e2e")
	var lines strings.Builder
	fmt.Fprintf(&lines, "\n%-34s %-6s %-28s %s", "mutant", "breaks", "caught by", "seconds")
	t.Run("none", func(t *testing.T) {
		o := mutant{name: "none"}.run(t, chaos)
		if !o.passed {
			t.Errorf("the run does not pass without a mutant:\n%s", o.output)
		}
		fmt.Fprintf(&lines, "\n%-34s %-6s %-28s %.0f", "none", "", "passes: "+strconv.FormatBool(o.passed), o.seconds)
	})
	for _, m := range table() { //nolint:paralleltest // likewise
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			o := m.run(t, chaos)
			by := "nothing"
			first := make(map[history.Invariant]bool)
			for _, v := range o.report.Violations {
				if first[v.Invariant] {
					continue
				}
				first[v.Invariant] = true
				t.Logf("%s\n%s", v, v.Trail)
				if v.Invariant == m.breaks {
					by = string(m.breaks)
				}
			}
			if by == "nothing" {
				t.Errorf("it is not caught by %s but by %v:\n%s", m.breaks, o.report.Broken, o.output)
			}
			if len(o.report.Broken) > 1 {
				delete(o.report.Broken, m.breaks)
				by = fmt.Sprintf("%s, and %s", by, slices.Sorted(maps.Keys(o.report.Broken)))
			}
			fmt.Fprintf(&lines, "\n%-34s %-6s %-28s %.0f", m.name, m.breaks, by, o.seconds)
		})
	}
	t.Log(lines.String())
}

// run builds a mutant and runs it.
func (m mutant) run(t *testing.T, chaos string) (o outcome) {
	t.Helper()
	began, dir := time.Now(), t.TempDir()
	source, err := m.tree()
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := source.overlay(dir)
	if err != nil {
		t.Fatal(err)
	}
	binary, report := filepath.Join(dir, "headrace"), filepath.Join(dir, "report.json")
	command(t, "go", "build", "-overlay", overlay, "-o", binary, "headrace")
	ctx, cancel := context.WithTimeout(t.Context(), mutantTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, chaos, "-test.run", "^TestChaos$", "-test.v", "-test.timeout", (2 * mutantTime).String())
	cmd.Dir = filepath.Join(root, "e2e")
	cmd.Env = append(os.Environ(), settings()...)
	cmd.Env = append(cmd.Env, "BINARY="+binary, "REPORT="+report, "UNTIL="+string(m.breaks))
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = mortal.Attributes()
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with all that it has started
	cmd.WaitDelay = 5 * time.Second
	o.passed = cmd.Run() == nil
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what a test that was ended has left
	}
	o.output, o.seconds = output.String(), time.Since(began).Seconds()
	text, err := os.ReadFile(report)
	if err == nil {
		err = json.Unmarshal(text, &o.report)
	}
	if err != nil {
		t.Fatalf("there is no report: %v\n%s", err, o.output)
	}
	return o
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

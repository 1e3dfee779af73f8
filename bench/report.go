package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

// report writes Markdown. The first error of its writer is kept, and later writing does nothing.
type report struct {
	w      io.Writer
	err    error
	missed int // gates that were not reached
}

func (r *report) printf(format string, args ...any) {
	if r.err == nil {
		_, r.err = fmt.Fprintf(r.w, format, args...)
	}
}

// gate is one figure with the bound that it should keep.
type gate struct {
	what  string
	value string
	bound string
	ok    bool
}

// atMost is a gate for figures that should be small.
func atMost(what string, value, bound float64, format string) gate {
	return gate{what, fmt.Sprintf(format, value), "<= " + fmt.Sprintf(format, bound), value <= bound}
}

// atLeast is a gate for figures that should be large.
func atLeast(what string, value, bound float64, format string) gate {
	return gate{what, fmt.Sprintf(format, value), ">= " + fmt.Sprintf(format, bound), value >= bound}
}

// gates prints figures against their bounds.
func (r *report) gates(all ...gate) {
	rows := make([][]string, 0, len(all))
	for _, g := range all {
		verdict := "reached"
		if !g.ok {
			verdict = "**missed**"
			r.missed++
		}
		rows = append(rows, []string{g.what, g.value, g.bound, verdict})
	}
	r.table([]string{"Figure to reach", "measured", "bound", ""}, rows)
}

// table prints a table whose columns are aligned for those who read it as text, too.
func (r *report) table(head []string, rows [][]string) {
	width := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell), 3)
		}
	}
	line := func(cells []string) {
		var b strings.Builder
		for i, cell := range cells {
			b.WriteString("| " + cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+1))
		}
		r.printf("%s|\n", b.String())
	}
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = strings.Repeat("-", width[i])
	}
	line(head)
	line(rule)
	for _, row := range rows {
		line(row)
	}
	r.printf("\n")
}

// heading says when, where and of what the figures are.
func (r *report) heading(ctx context.Context, version string) {
	r.printf("## %s, %s\n\n", time.Now().Format("2006-01-02 15:04"), version)
	r.printf("* Machine: %d cores (%s), %s; %s; %s/%s, GOMAXPROCS %d. Load average before: %s.\n",
		runtime.NumCPU(), fromFile("/proc/cpuinfo", "model name"), memTotal(), runtime.Version(),
		runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), loadAverage())
	if commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		r.printf("* Commit: %s.\n", strings.TrimSpace(string(commit)))
	}
	r.printf("* Load generator, model server, proxies and headrace are processes of their own on the same cores. " +
		"Clients are closed loops over keep-alive connections; each good call is a 200 with a body of the right length.\n\n")
}

// fromFile gives the value of the first line "key : value" of a file, "unknown" where there is none.
func fromFile(path, key string) string {
	file, err := os.Open(path) //nolint:gosec // one of the two names below
	if err != nil {
		return "unknown"
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func memTotal() string {
	var kib int64
	if _, err := fmt.Sscanf(fromFile("/proc/meminfo", "MemTotal"), "%d kB", &kib); err != nil {
		return "memory unknown"
	}
	return fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// ms writes a duration in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

// mb writes bytes in megabytes.
func mb(n int64) float64 { return float64(n) / 1e6 }

// number writes a whole number with commas.
func number(f float64) string {
	text := fmt.Sprintf("%.0f", f)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

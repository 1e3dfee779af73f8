package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// limit bounds one kind of figure for the rooms whose path begins with a prefix.
type limit struct {
	files, code int // of one package
	methods     int // of one type
	backdoor    int // lines of code in export_test.go
}

// limits are by path; "" is for every other room. Tests, benches and their helpers are bound by what CONTRIBUTING.md says of
// files and functions only.
func limits() map[string]limit {
	return map[string]limit{
		"":    {files: 20, code: 2_000, methods: 25, backdoor: 80},
		"api": {files: 26, code: 3_500, methods: 25, backdoor: 80},
	}
}

// production reports whether a room's sources end up in the binary.
func production(path string) bool {
	if strings.HasSuffix(path, "test") { // internal/natstest and its like
		return false
	}
	for _, other := range []string{"bench", "e2e", "docs", "internal/house"} {
		if path == other || strings.HasPrefix(path, other+"/") {
			return false
		}
	}
	return true
}

func (t *tree) production() []*room {
	var rooms []*room
	for _, path := range slices.Sorted(maps.Keys(t.rooms)) {
		if production(path) {
			rooms = append(rooms, t.rooms[path])
		}
	}
	return rooms
}

// excesses names each figure that is over its limit.
func excesses(t *tree, limits map[string]limit) []string {
	var over []string
	for _, r := range t.production() {
		most, ok := limits[r.path]
		if !ok {
			most = limits[""]
		}
		if r.files > most.files {
			over = append(over, fmt.Sprintf("%s has %d files, at most %d", r.path, r.files, most.files))
		}
		if r.code > most.code {
			over = append(over, fmt.Sprintf("%s has %d lines of code, at most %d", r.path, r.code, most.code))
		}
		if r.backdoor > most.backdoor {
			over = append(over, fmt.Sprintf("%s has %d lines of code in export_test.go, at most %d", r.path, r.backdoor, most.backdoor))
		}
		for _, name := range slices.Sorted(maps.Keys(r.methods)) {
			if r.methods[name] > most.methods {
				over = append(over, fmt.Sprintf("%s.%s has %d methods, at most %d", r.path, name, r.methods[name], most.methods))
			}
		}
	}
	return over
}

// exceptions begin the lines that -check lets pass: what is over its limit today and waits to be parted. Delete a line when its
// figure holds; add none.
func exceptions() []string {
	return []string{
		"api/dialect has ",
		"internal/job.Record has ", // one method for each move of a job: the list is the vocabulary
	}
}

// unexpected leaves the exceptions out.
func unexpected(over []string) []string {
	return slices.DeleteFunc(over, func(line string) bool {
		return slices.ContainsFunc(exceptions(), func(known string) bool { return strings.HasPrefix(line, known) })
	})
}

// show writes a line for each room, then what is counted over all of them.
func show(out io.Writer, t *tree) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	say := func(format string, args ...any) {
		_, _ = fmt.Fprintf(w, format, args...) // Flush reports it
	}
	say("package\tfiles\tcode\tcomments per 100\ttests to code\tmost methods\texport_test\tfiles with NATS\tundocumented\t\n")
	var code, comments, silent int
	for _, r := range t.production() {
		name, methods := "", 0
		for _, candidate := range slices.Sorted(maps.Keys(r.methods)) {
			if r.methods[candidate] > methods {
				name, methods = candidate, r.methods[candidate]
			}
		}
		say("%s\t%d\t%d\t%.0f\t%.2f\t%s %d\t%d\t%d\t%d\t\n", r.path, r.files, r.code, 100*float64(r.comments)/float64(max(r.code, 1)),
			float64(r.tests)/float64(max(r.code, 1)), name, methods, r.backdoor, len(r.nats), len(r.silent))
		code, comments, silent = code+r.code, comments+r.comments, silent+len(r.silent)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nall: %d lines of code, %.1f comment lines per 100, %d exported names without a comment, %d tell-tale words\n",
		code, 100*float64(comments)/float64(max(code, 1)), silent, len(t.words))
	if err != nil {
		return err
	}
	for _, r := range t.production() {
		for _, name := range r.silent {
			if _, err := fmt.Fprintln(out, "without a comment:", name); err != nil {
				return err
			}
		}
	}
	for _, word := range t.words {
		if _, err := fmt.Fprintln(out, word); err != nil {
			return err
		}
	}
	return nil
}

package config

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// document is one file while it is read.
type document struct {
	file     string
	lines    map[string]int // key path -> line
	problems []Problem
	warnings []Problem
	keys     []missingKey
	used     []usedFile
}

// complain reports a problem at a key; the nearest key above it that stands in the file gives the line.
func (d *document) complain(key, hint, format string, args ...any) {
	d.problems = append(d.problems, d.problem(key, hint, format, args...))
}

// warn is complain about what is valid all the same.
func (d *document) warn(key, hint, format string, args ...any) {
	d.warnings = append(d.warnings, d.problem(key, hint, format, args...))
}

func (d *document) problem(key, hint, format string, args ...any) Problem {
	return Problem{File: d.file, Line: d.line(key), Key: key, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// written is the first of keys that stands in the file; when none does, the first of all.
func (d *document) written(keys ...string) string {
	for _, key := range keys {
		if _, there := d.lines[key]; there {
			return key
		}
	}
	return keys[0]
}

func (d *document) line(key string) int {
	for key != "" {
		if n, ok := d.lines[key]; ok {
			return n
		}
		cut := max(strings.LastIndexByte(key, '.'), strings.LastIndexByte(key, '['))
		key = key[:max(cut, 0)]
	}
	return 0
}

// missingFile is the hint about a file that cannot be read.
const missingFile = "name a file that this process can read; a path that is not absolute begins where Headrace was started"

// table is one TOML table. Each getter names a key that the table knows; finish reports the others.
type table struct {
	doc    *document
	path   string // "" for the root
	values map[string]any
	known  []string
}

func (t *table) key(name string) string {
	if t.path == "" {
		return name
	}
	return t.path + "." + name
}

// get gives a value and whether it is there.
func (t *table) get(name string) (any, bool) {
	t.known = append(t.known, name)
	v, ok := t.values[name]
	return v, ok
}

func (t *table) complain(name, hint, format string, args ...any) {
	t.doc.complain(t.key(name), hint, format, args...)
}

func (t *table) wrongType(name string, value any, want, example string) {
	t.complain(name, "for example "+name+" = "+example, "%s, but this is %s", want, kindOf(value))
}

func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "a number"
	case float64:
		return "a fraction"
	case bool:
		return "true or false"
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	default:
		return "a date"
	}
}

func (t *table) text(name, fallback string) string {
	v, ok := t.get(name)
	if !ok {
		return fallback
	}
	s, ok := v.(string)
	if !ok {
		t.wrongType(name, v, "must be a string", strconv.Quote(fallback))
		return fallback
	}
	return s
}

// secret is text that may be written env:NAME or file:PATH.
func (t *table) secret(name string) string {
	s := t.text(name, "")
	if variable, ok := strings.CutPrefix(s, "env:"); ok {
		value := os.Getenv(variable)
		if value == "" {
			t.complain(name, "set it for this process, or write the value or file:PATH", "the environment variable %q is not set", variable)
		}
		return value
	}
	if path, ok := strings.CutPrefix(s, "file:"); ok {
		used, text, err := useFile(path)
		t.doc.used = append(t.doc.used, used)
		if err != nil {
			t.unreadable(name, path, err)
		}
		return strings.TrimRight(string(text), "\r\n")
	}
	return s
}

// unreadable complains of a file. What cannot be a path may be the secret itself, so it is not shown.
func (t *table) unreadable(name, path string, err error) {
	if len(path) > maxPath || strings.ContainsAny(path, "\r\n") {
		t.complain(name, missingFile, "this is not the name of a file")
		return
	}
	t.complain(name, missingFile, "%v", err)
}

// maxPath is the longest name of a file that is shown, in bytes.
const maxPath = 512

func (t *table) flag(name string) bool {
	v, ok := t.get(name)
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		t.wrongType(name, v, "must be true or false", "true")
	}
	return b
}

// count is a whole number of at least low.
func (t *table) count(name string, fallback, low int) int {
	v, ok := t.get(name)
	if !ok {
		return fallback
	}
	n, ok := v.(int64)
	switch {
	case !ok:
		t.wrongType(name, v, "must be a whole number", strconv.Itoa(max(fallback, 1)))
	case n < int64(low) || n > math.MaxInt32:
		t.complain(name, "for example "+name+" = "+strconv.Itoa(max(fallback, 1)), "must be between %d and %d, not %d", low, math.MaxInt32, n)
	default:
		return int(n)
	}
	return fallback
}

// duration is positive, unless fallback is 0: then 0 is allowed.
func (t *table) duration(name string, fallback time.Duration) time.Duration {
	return t.durationUpTo(name, fallback, 24*time.Hour)
}

func (t *table) durationUpTo(name string, fallback, most time.Duration) time.Duration {
	v, ok := t.get(name)
	if !ok {
		return fallback
	}
	s, ok := v.(string)
	if !ok {
		t.wrongType(name, v, "must be a duration in quotes", `"60s"`)
		return fallback
	}
	d, err := time.ParseDuration(s)
	example := "for example " + name + ` = "60s"`
	switch {
	case err != nil:
		t.complain(name, `write a number and a unit: "500ms", "60s", "5m", "1h"`, "%q is not a duration", s)
	case d <= 0:
		t.complain(name, example, "must be longer than nothing, not %q", s)
	case d > most:
		t.complain(name, example, "must be %dh at most, not %q", int(most.Hours()), s)
	default:
		return d
	}
	return fallback
}

// units of sizes, longest first.
func sizeUnits() []struct {
	suffix string
	bytes  int64
} {
	return []struct {
		suffix string
		bytes  int64
	}{
		{"KiB", 1 << 10},
		{"MiB", 1 << 20},
		{"GiB", 1 << 30},
		{"TiB", 1 << 40},
		{"kB", 1e3},
		{"KB", 1e3},
		{"MB", 1e6},
		{"GB", 1e9},
		{"TB", 1e12},
		{"B", 1},
	}
}

// ParseSize reads "32MiB", "10 MB" or "512".
func ParseSize(s string) (int64, error) {
	number, unit := strings.TrimSpace(s), int64(1)
	for _, u := range sizeUnits() {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	bytes := n * float64(unit)
	if err != nil || math.IsNaN(n) || bytes < 0 || bytes > 1<<50 {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return int64(bytes), nil
}

func (t *table) size(name, fallback string) int64 {
	n, err := ParseSize(fallback)
	if err != nil {
		t.complain(name, "", "default: %v", err)
	}
	v, ok := t.get(name)
	if !ok {
		return n
	}
	var got int64
	switch v := v.(type) {
	case int64:
		got = v
	case string:
		if got, err = ParseSize(v); err != nil {
			t.complain(name, `write a number and a unit: "64KiB", "32MiB", "1GiB"`, "%v", err)
			return n
		}
	default:
		t.wrongType(name, v, "must be a size", strconv.Quote(fallback))
		return n
	}
	if got <= 0 {
		t.complain(name, "for example "+name+" = "+strconv.Quote(fallback), "must be more than 0 bytes")
		return n
	}
	return got
}

// texts is a list of strings.
func (t *table) texts(name, example string) []string {
	v, ok := t.get(name)
	if !ok {
		return nil
	}
	items, ok := v.([]any)
	if !ok {
		t.wrongType(name, v, "must be a list of strings", example)
		return nil
	}
	out := make([]string, 0, len(items))
	for i, item := range items {
		s, ok := item.(string)
		if !ok {
			t.doc.complain(fmt.Sprintf("%s[%d]", t.key(name), i), "for example "+name+" = "+example, "must be a string, but this is %s", kindOf(item))
			continue
		}
		out = append(out, s)
	}
	return out
}

// table is a table below this one; nil when it is not there.
func (t *table) table(name string) *table {
	v, ok := t.get(name)
	if !ok {
		return nil
	}
	values, ok := v.(map[string]any)
	if !ok {
		t.complain(name, "write ["+t.key(name)+"] on a line of its own", "must be a table, but this is %s", kindOf(v))
		return nil
	}
	return &table{doc: t.doc, path: t.key(name), values: values}
}

// tables is a list of tables.
func (t *table) tables(name string) []*table {
	v, ok := t.get(name)
	if !ok {
		return nil
	}
	items, ok := v.([]map[string]any)
	if list, inline := v.([]any); inline {
		items, ok = nil, true
		for _, item := range list {
			values, isTable := item.(map[string]any)
			items, ok = append(items, values), ok && isTable
		}
	}
	if !ok {
		t.complain(name, "write [["+name+"]], with two brackets, above each entry", "must be a list of tables, but this is %s", kindOf(v))
		return nil
	}
	out := make([]*table, len(items))
	for i, values := range items {
		out[i] = &table{doc: t.doc, path: fmt.Sprintf("%s[%d]", t.key(name), i), values: values}
	}
	return out
}

// finish reports keys that were not read: they are unknown.
func (t *table) finish() {
	for name := range t.values {
		if slices.Contains(t.known, name) {
			continue
		}
		hint := "known here: " + strings.Join(slices.Sorted(slices.Values(t.known)), ", ")
		if near := nearest(name, t.known); near != "" {
			hint = "did you mean " + near + "?"
		}
		t.complain(name, hint, "unknown key")
	}
}

// nearest is the known word that name is probably a slip of; "" when none is near.
func nearest(name string, known []string) string {
	best, least := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's: how many letters must be added, dropped or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

package config

import (
	"strconv"
	"strings"
)

// findLines finds the line of each key of a TOML text, because the TOML library does not tell. Keys are
// written as in problems: routes[0].model.config.model_server_url. The text is known to be valid TOML; of
// anything else some lines may be wrong, which only makes a message less exact.
func findLines(text string) map[string]int {
	f := &lineFinder{lines: make(map[string]int), counts: make(map[string]int)}
	for i, line := range strings.Split(text, "\n") {
		f.read(strings.TrimSpace(line), i+1)
	}
	return f.lines
}

type lineFinder struct {
	lines  map[string]int
	counts map[string]int // entries so far of each list of tables
	prefix string         // path of the current table
	inside string         // what ends a value of several lines: `"""`, `'''`, or "" when none is open
	depth  int            // open brackets of such a value
}

func (f *lineFinder) read(line string, n int) {
	if f.inside != "" || f.depth > 0 {
		f.skip(line)
		return
	}
	switch {
	case line == "" || line[0] == '#':
	case strings.HasPrefix(line, "[["):
		header, _, _ := strings.Cut(line[2:], "]]")
		path := f.absolute(splitKey(header))
		f.prefix = path + "[" + strconv.Itoa(f.counts[path]) + "]"
		f.counts[path]++
		f.note(f.prefix, n)
		f.note(path, n)
	case line[0] == '[':
		header, _, _ := strings.Cut(line[1:], "]")
		f.prefix = f.absolute(splitKey(header))
		f.note(f.prefix, n)
	default:
		key, value := splitAssignment(line)
		path := f.prefix
		for _, part := range splitKey(key) {
			path = join(path, part)
			f.note(path, n)
		}
		f.skip(value)
	}
}

func (f *lineFinder) note(path string, n int) {
	if _, known := f.lines[path]; !known {
		f.lines[path] = n
	}
}

func join(path, part string) string {
	if path == "" {
		return part
	}
	return path + "." + part
}

// absolute puts the indices of the latest entries into a header's path: [routes.model] means that of the
// last [[routes]].
func (f *lineFinder) absolute(parts []string) string {
	path := ""
	for i, part := range parts {
		path = join(path, part)
		if n := f.counts[path]; n > 0 && i < len(parts)-1 {
			path += "[" + strconv.Itoa(n-1) + "]"
		}
	}
	return path
}

// splitAssignment cuts a line at its first = outside quotes.
func splitAssignment(line string) (key, value string) {
	quote := byte(0)
	for i := range len(line) {
		switch c := line[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '=':
			return line[:i], strings.TrimSpace(line[i+1:])
		}
	}
	return line, ""
}

// splitKey splits a dotted key at dots outside quotes, and drops the quotes.
func splitKey(key string) []string {
	var parts []string
	var part strings.Builder
	quote := byte(0)
	for i := range len(key) {
		switch c := key[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && c == '.':
			parts = append(parts, part.String())
			part.Reset()
		case quote == 0 && (c == ' ' || c == '\t'):
		default:
			part.WriteByte(c)
		}
	}
	return append(parts, part.String())
}

// skip passes over a value, or what a line holds of it, and notes what stays open.
func (f *lineFinder) skip(rest string) {
	for rest != "" {
		if f.inside != "" {
			_, after, closed := strings.Cut(rest, f.inside)
			if !closed {
				return
			}
			f.inside, rest = "", after
			continue
		}
		switch c := rest[0]; {
		case strings.HasPrefix(rest, `"""`) || strings.HasPrefix(rest, `'''`):
			f.inside = rest[:3]
			rest = rest[3:]
			continue
		case c == '"' || c == '\'':
			rest = afterString(rest)
			continue
		case c == '#':
			return
		case c == '[' || c == '{':
			f.depth++
		case c == ']' || c == '}':
			f.depth = max(f.depth-1, 0)
		}
		rest = rest[1:]
	}
}

// afterString passes over a string of one line.
func afterString(s string) string {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] == '"':
			i++
		case s[i] == s[0]:
			return s[i+1:]
		}
	}
	return ""
}

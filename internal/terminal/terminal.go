// Package terminal writes for people: tables in columns, colours where a terminal has them, lengths of time and numbers in
// words, and a line that changes. What a gateway says goes through OneLine, so that it cannot steer the terminal.
//
// It knows nothing of jobs or gateways. Begin at Table and StatusLine.
package terminal

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Tint is the colour of a word on a terminal.
type Tint string

// The colours that are used; Plain is the terminal's own.
const (
	Plain  Tint = ""
	Red    Tint = "31"
	Green  Tint = "32"
	Yellow Tint = "33"
	Cyan   Tint = "36"
	Bold   Tint = "1"
)

// IsTerminal reports whether a person reads what is written to w.
func IsTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Width is how many characters a line of a terminal has.
func Width(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 20 {
			return width - 1
		}
	}
	return 79
}

// Colours reports whether words written to w have colours: on a terminal, unless NO_COLOR forbids it.
func Colours(w io.Writer) bool {
	return IsTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// Paint gives a text the codes of a colour.
func Paint(text string, t Tint) string {
	if t == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(t) + "m" + text + "\x1b[0m"
}

// Cell is one field of a table.
type Cell struct {
	text string
	tint Tint
}

// Table is written in columns, with a header. text/tabwriter would count colours as width.
type Table struct {
	Header []string
	Bare   bool // the header was written before

	rows [][]Cell
}

// Text is a field without colour.
func Text(text string) Cell { return Cell{text: text} }

// Tinted is a field with a colour.
func Tinted(text string, tint Tint) Cell { return Cell{text, tint} }

// Add adds a row; it has a field for each name of the header.
func (t *Table) Add(cells ...Cell) { t.rows = append(t.rows, cells) }

// Write writes the table, coloured where w takes it.
func (t *Table) Write(w io.Writer) error {
	_, err := io.WriteString(w, t.Render(Colours(w)))
	return err
}

// Render writes the header and the rows; fields are two spaces apart, and no line ends with spaces.
func (t *Table) Render(coloured bool) string { //nolint:revive // it is how, not what
	widths := make([]int, len(t.Header))
	for i, name := range t.Header {
		widths[i] = utf8.RuneCountInString(name)
	}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var b strings.Builder
	line := func(cells []Cell) {
		gap := 0
		for i, c := range cells {
			if c.text != "" {
				b.WriteString(strings.Repeat(" ", gap))
				gap = 0
				text := c.text
				if coloured {
					text = Paint(text, c.tint)
				}
				b.WriteString(text)
			}
			gap += widths[i] - utf8.RuneCountInString(c.text) + 2
		}
		b.WriteByte('\n')
	}
	head := make([]Cell, len(t.Header))
	for i, name := range t.Header {
		head[i] = Cell{name, Bold}
	}
	if !t.Bare {
		line(head)
	}
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// InWords writes a length of time with one unit, or two where the first is small: 250ms, 4.2s, 3m20s, 5h10m, 3d.
func InWords(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + InWords(-d)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return TrimZero(fmt.Sprintf("%.1f", d.Seconds()), ".0") + "s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 10*time.Minute:
		return TrimZero(fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60), "m0s", "m")
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 10*time.Hour:
		d = d.Round(time.Minute)
		return TrimZero(fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60), "h0m", "h")
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Round(time.Hour).Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	}
}

// TrimZero replaces an ending that says nothing.
func TrimZero(text, ending string, instead ...string) string {
	if short, ok := strings.CutSuffix(text, ending); ok {
		return short + strings.Join(instead, "")
	}
	return text
}

// Count writes a number of things: "1 job", "2 jobs", "12,000 lines".
func Count(n int, thing string) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	if n == 1 {
		return text + " " + thing
	}
	return text + " " + thing + "s"
}

// Were is Count with its verb: "1 route was", "2 routes were".
func Were(n int, thing string) string {
	if n == 1 {
		return Count(n, thing) + " was"
	}
	return Count(n, thing) + " were"
}

// OneLine keeps what a gateway says, which may hold any text, from breaking a table or steering a terminal.
func OneLine(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}

// Quoted writes a word as a shell reads it.
func Quoted(word string) string {
	if word != "" && strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=,.:/@+") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// StatusLine is a line of a terminal that changes; what else is written goes above it.
type StatusLine struct {
	w        io.Writer
	terminal bool
	text     string // as it stands on the terminal
	said     bool
}

// NewStatusLine makes one for w, which a person may watch or not.
func NewStatusLine(w io.Writer) *StatusLine { return &StatusLine{w: w, terminal: IsTerminal(w)} }

// Watched reports whether a person watches it.
func (l *StatusLine) Watched() bool { return l.terminal }

// Set shows a text on a terminal; elsewhere only what matters, and once.
func (l *StatusLine) Set(text string, matters bool) {
	switch {
	case l.terminal:
		l.text = OneLine(text, Width(l.w)) // a longer one would wrap, and could not be taken back
		text = l.text
		_, _ = fmt.Fprintf(l.w, "\r\x1b[K%s", text)
	case matters && !l.said:
		_, _ = fmt.Fprintln(l.w, text)
	}
	l.said = matters
}

// Clear takes the line off the terminal.
func (l *StatusLine) Clear() {
	if l.text != "" {
		_, _ = io.WriteString(l.w, "\r\x1b[K")
		l.text = ""
	}
}

// Write writes whole lines above the one that changes.
func (l *StatusLine) Write(lines []byte) (int, error) {
	text := l.text
	l.Clear()
	n, err := l.w.Write(lines)
	if text != "" {
		l.Set(text, l.said)
	}
	return n, err
}

package cli

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

// tint is the colour of a word on a terminal.
type tint string

const (
	plain  tint = ""
	red    tint = "31"
	green  tint = "32"
	yellow tint = "33"
	cyan   tint = "36"
	bold   tint = "1"
)

// isTerminal reports whether a person reads what is written to w.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// widthOf is how many characters a line of a terminal has.
func widthOf(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 20 {
			return width - 1
		}
	}
	return 79
}

// colours reports whether words written to w have colours: on a terminal, unless NO_COLOR forbids it.
func colours(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

func paint(text string, t tint) string {
	if t == plain || text == "" {
		return text
	}
	return "\x1b[" + string(t) + "m" + text + "\x1b[0m"
}

// cell is one field of a table.
type cell struct {
	text string
	tint tint
}

// table is written in columns, with a header. text/tabwriter would count colours as width.
type table struct {
	header []string
	rows   [][]cell
	bare   bool // the header was written before
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

func (t *table) write(w io.Writer) error {
	_, err := io.WriteString(w, t.render(colours(w)))
	return err
}

// render writes the header and the rows; fields are two spaces apart, and no line ends with spaces.
func (t *table) render(coloured bool) string { //nolint:revive // it is how, not what
	widths := make([]int, len(t.header))
	for i, name := range t.header {
		widths[i] = utf8.RuneCountInString(name)
	}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var b strings.Builder
	line := func(cells []cell) {
		gap := 0
		for i, c := range cells {
			if c.text != "" {
				b.WriteString(strings.Repeat(" ", gap))
				gap = 0
				text := c.text
				if coloured {
					text = paint(text, c.tint)
				}
				b.WriteString(text)
			}
			gap += widths[i] - utf8.RuneCountInString(c.text) + 2
		}
		b.WriteByte('\n')
	}
	head := make([]cell, len(t.header))
	for i, name := range t.header {
		head[i] = cell{name, bold}
	}
	if !t.bare {
		line(head)
	}
	for _, row := range t.rows {
		line(row)
	}
	return b.String()
}

// inWords writes a length of time with one unit, or two where the first is small: 250ms, 4.2s, 3m20s, 5h10m, 3d.
func inWords(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + inWords(-d)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return trimZero(fmt.Sprintf("%.1f", d.Seconds()), ".0") + "s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 10*time.Minute:
		return trimZero(fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60), "m0s", "m")
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 10*time.Hour:
		d = d.Round(time.Minute)
		return trimZero(fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60), "h0m", "h")
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Round(time.Hour).Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours())/24)
	}
}

// trimZero replaces an ending that says nothing.
func trimZero(text, ending string, instead ...string) string {
	if short, ok := strings.CutSuffix(text, ending); ok {
		return short + strings.Join(instead, "")
	}
	return text
}

// count writes a number of things: "1 job", "2 jobs", "12,000 lines".
func count(n int, thing string) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	if n == 1 {
		return text + " " + thing
	}
	return text + " " + thing + "s"
}

// were is count with its verb: "1 route was", "2 routes were".
func were(n int, thing string) string {
	if n == 1 {
		return count(n, thing) + " was"
	}
	return count(n, thing) + " were"
}

// oneLine keeps what a gateway says, which may hold any text, from breaking a table or steering a terminal.
func oneLine(text string, most int) string {
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

package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"headrace/api/problem"
)

// clean is a foreign text as it can stand on a page: at most so many characters, with a name for each that steers a
// terminal or turns the direction of what follows. Line breaks and tabs stay.
func clean(text string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range problem.Valid(text) {
		if n++; n > most {
			b.WriteRune('…')
			break
		}
		switch {
		case r == '\n' || r == '\t':
			b.WriteRune(r)
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// maxShown is how many characters of a name, a tag or an error are shown.
const maxShown = 600

// plain is clean for texts of one line.
func plain(text any) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(clean(fmt.Sprint(text), maxShown))
}

// indented is JSON with a line for each member, or the text as it is.
func indented(text []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, text, "", "  ") != nil || b.Len() > 4*maxBody {
		return clean(string(text), maxBody)
	}
	return clean(b.String(), 4*maxBody)
}

// took is a time with three digits, as "4.20 ms".
func took(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case d <= 0:
		return "0 ms"
	case ms < 1000:
		return digits(ms) + " ms"
	case d < time.Minute:
		return digits(ms/1000) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min " + strconv.Itoa(int(d.Seconds())%60) + " s"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h " + strconv.Itoa(int(d.Minutes())%60) + " min"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " days"
}

// digits is a figure with three digits at least, as "0.42", "4.2", "42", "4,200".
func digits(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case x == 0:
		return "0"
	case x < 0.995:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 99.95:
		return strings.TrimSuffix(strconv.FormatFloat(x, 'f', 1, 64), ".0")
	}
	return count(int(math.Round(x)))
}

// count is a whole number with commas.
func count(n int) string {
	if n < 0 {
		return "-" + count(-n)
	}
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// size is a number of bytes.
func size(n int64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB"}
	x := float64(n)
	for i, unit := range units {
		if x < 1000 || i == len(units)-1 {
			return digits(x) + " " + unit
		}
		x /= 1000
	}
	return ""
}

// share is a part of a whole in per cent.
func share(part, whole int) string {
	if whole == 0 || part == 0 {
		return "0 %"
	}
	return digits(100*float64(part)/float64(whole)) + " %"
}

// clock is a moment. A browser with scripts shows it in its own time zone.
func clock(t any) template.HTML {
	var at time.Time
	switch t := t.(type) {
	case time.Time:
		at = t
	case *time.Time:
		if t != nil {
			at = *t
		}
	}
	if at.IsZero() {
		return "–"
	}
	at = at.UTC()
	layout := "2 Jan 15:04:05 UTC"
	//nolint:gosec // digits and names of months
	return template.HTML(`<time datetime="` + at.Format("2006-01-02T15:04:05.000Z") + `">` + at.Format(layout) + `</time>`)
}

// plural is a number with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

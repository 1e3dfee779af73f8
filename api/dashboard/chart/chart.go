// Package chart draws figures as SVG: values in, markup out. It is pure. Colours are classes of the page's style sheet, and
// a drawing stretches to the box that it stands in, so texts stand beside it and not in it.
package chart

import (
	"html/template"
	"math"
	"strconv"
	"strings"
)

// Width and Height are of every plot, in units of its own.
const (
	Width  = 600
	Height = 120
)

// Series is one line of a plot. NaN is a gap.
type Series struct {
	Class  string // of the style sheet
	Values []float64
	Filled bool // the area below the line is filled, too
}

// Mark is a column of a plot that can be pointed at: it tells and leads to what lies in it.
type Mark struct {
	Text string
	Link string // an address of this server
}

// Plot draws lines over the same span. Values from 0 to most fill its height.
func Plot(most float64, marks []Mark, series ...Series) template.HTML {
	var b strings.Builder
	b.WriteString(`<svg class="plot" viewBox="0 0 600 120" preserveAspectRatio="none" aria-hidden="true" focusable="false">`)
	for _, y := range []string{"0.5", "60", "119.5"} {
		b.WriteString(`<path class="grid" d="M0 ` + y + `H600"/>`)
	}
	for _, s := range series {
		line, area := paths(s.Values, most)
		if s.Filled && area != "" {
			b.WriteString(`<path class="area ` + s.Class + `" d="` + area + `"/>`)
		}
		if line != "" {
			b.WriteString(`<path class="line ` + s.Class + `" d="` + line + `"/>`)
		}
	}
	for i, m := range marks {
		x := Width * float64(i) / float64(len(marks))
		b.WriteString(`<a href="` + template.HTMLEscapeString(m.Link) + `" tabindex="-1"><rect class="hit" x="` + number(x) + `" y="0" width="` +
			number(Width/float64(len(marks))) + `" height="120"><title>` + template.HTMLEscapeString(m.Text) + `</title></rect></a>`)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers, classes of ours, and escaped texts
}

// paths are the line through values, and the area below it.
func paths(values []float64, most float64) (line, area string) {
	if !(most > 0) || len(values) < 2 {
		return "", ""
	}
	var l, a strings.Builder
	begun := false
	end := func() {
		if begun {
			a.WriteString("V120Z")
		}
		begun = false
	}
	for i, v := range values {
		if math.IsNaN(v) {
			end()
			continue
		}
		x := number(Width * float64(i) / float64(len(values)-1))
		at := x + " " + number(Height-1-(Height-2)*min(max(v/most, 0), 1))
		if begun {
			l.WriteString("L" + at)
			a.WriteString("L" + at)
			continue
		}
		begun = true
		l.WriteString("M" + at + "h.1") // which shows a single point, too
		a.WriteString("M" + x + " 120L" + at)
	}
	end()
	return l.String(), a.String()
}

// Part is a stretch of a bar.
type Part struct {
	Class    string
	From, To float64 // 0 to 1
}

// Bar draws stretches on a line from 0 to 1.
func Bar(parts ...Part) template.HTML {
	var b strings.Builder
	b.WriteString(`<svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" focusable="false"><path class="rail" d="M0 5H1000"/>`)
	for _, p := range parts {
		from, to := min(max(p.From, 0), 1), min(max(p.To, 0), 1)
		if !(to > from) {
			continue
		}
		wide := max(1000*(to-from), 2)
		b.WriteString(`<rect class="` + p.Class + `" x="` + number(min(1000*from, 1000-wide)) + `" y="0" width="` + number(wide) + `" height="10"/>`)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers, and classes of ours
}

// Ceiling is the smallest of 1, 2 and 5 times a power of ten that is not below any value; least when all are smaller.
func Ceiling(least float64, series ...Series) float64 {
	most := least
	for _, s := range series {
		for _, v := range s.Values {
			if v > most && !math.IsInf(v, 1) {
				most = v
			}
		}
	}
	if !(most > 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(most)))
	for _, m := range []float64{1, 2, 5} {
		if most <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// number has one digit behind the point at most.
func number(x float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(x, 'f', 1, 64), ".0")
}

package terminal_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"headrace/internal/terminal"
)

func TestLengthsOfTime(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{
		"0ms": 0, "250ms": 250 * time.Millisecond, "4s": 4 * time.Second, "4.2s": 4200 * time.Millisecond, "59s": 59 * time.Second, "2m": 2 * time.Minute,
		"3m20s": 200 * time.Second, "59m": 59 * time.Minute, "1h": time.Hour, "5h10m": 310 * time.Minute, "24h": 24*time.Hour - time.Second, "3d": 80 * time.Hour, "-5s": -5 * time.Second,
	} {
		if got := terminal.InWords(d); got != want {
			t.Errorf("%v is %s, not %s", d, got, want)
		}
	}
}

func TestNumbersOfThings(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0 jobs", 1: "1 job", 2: "2 jobs", 999: "999 jobs", 1000: "1,000 jobs", 1234567: "1,234,567 jobs", -1000: "-1,000 jobs"} {
		if got := terminal.Count(n, "job"); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	if one, two := terminal.Were(1, "route"), terminal.Were(2, "route"); one != "1 route was" || two != "2 routes were" {
		t.Error(one, two)
	}
}

func TestTablesAlignAndEndWithoutSpaces(t *testing.T) {
	t.Parallel()
	table := &terminal.Table{Header: []string{"NAME", "STATE", "NOTE"}}
	table.Add(terminal.Text("grün"), terminal.Tinted("open", terminal.Green), terminal.Text(""))
	table.Add(terminal.Text("a-long-name"), terminal.Text(""), terminal.Tinted("x", terminal.Plain))
	if got, want := table.Render(false), "NAME         STATE  NOTE\ngrün         open\na-long-name         x\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	coloured := table.Render(true)
	if !strings.Contains(coloured, "\x1b[32mopen\x1b[0m") || !strings.Contains(coloured, "\x1b[1mNAME\x1b[0m         \x1b[1mSTATE") {
		t.Errorf("%q", coloured)
	}
	var b strings.Builder
	table.Bare = true
	if err := table.Write(&b); err != nil || strings.Contains(b.String(), "NAME") || strings.Contains(b.String(), "\x1b") {
		t.Errorf("%q (%v)", b.String(), err)
	}
}

// Elsewhere than on a terminal a line that changes is written when it matters, and once.
func TestAStatusLineOfAFileSaysWhatMattersOnce(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	line := terminal.NewStatusLine(&b)
	if line.Watched() || terminal.IsTerminal(&b) || terminal.Colours(&b) || terminal.Width(&b) != 79 {
		t.Error("a file is taken for a terminal")
	}
	line.Set("waits", false)
	line.Set("is paused", true)
	line.Set("is paused still", true)
	if _, err := line.Write([]byte("above\n")); err != nil {
		t.Fatal(err)
	}
	line.Set("waits", false)
	line.Set("is paused again", true)
	line.Clear()
	if want := "is paused\nabove\nis paused again\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestWordsAreQuotedAsAShellReadsThem(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{"": "''", "job-1": "job-1", "a b": "'a b'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "a=b,c:/d@e+f": "a=b,c:/d@e+f"} {
		if got := terminal.Quoted(word); got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}

// What a gateway says cannot break a line or steer the terminal, however it is made.
func FuzzOneLine(f *testing.F) {
	f.Add("a\nb\x1b[31m\u009b", 5)
	f.Fuzz(func(t *testing.T, text string, most int) {
		most = max(1, most%1000)
		line := terminal.OneLine(text, most)
		if utf8.RuneCountInString(line) > most || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
			t.Errorf("%q", line)
		}
	})
}

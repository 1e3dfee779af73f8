package dashboard_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"headrace/api/dashboard"
)

func FuzzReadLine(f *testing.F) {
	f.Add(`route:a status:b tag:"two words" c`)
	f.Add(`:::"""`)
	f.Fuzz(func(t *testing.T, line string) {
		n, err := dashboard.ReadLine(line)
		if err == nil && n > len(line) {
			t.Errorf("%d words in %q", n, line)
		}
		if err == nil && n == 0 && strings.TrimSpace(line) != "" {
			t.Errorf("%q says nothing", line)
		}
	})
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[31m\u202eb\n\tc\xff")
	f.Fuzz(func(t *testing.T, text string) {
		got := dashboard.Clean(text, 50)
		if !utf8.ValidString(got) || strings.IndexFunc(got, func(r rune) bool {
			return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r))
		}) >= 0 {
			t.Errorf("%q becomes %q", text, got)
		}
		if utf8.RuneCountInString(got) > 50*10+1 {
			t.Errorf("%d characters", utf8.RuneCountInString(got))
		}
	})
}

package api

import (
	"strings"
	"unicode/utf8"
)

// replaceInvalid puts a replacement character for what is not UTF-8, as Python does: one for as many bytes as begin a
// character, else one for each byte.
func replaceInvalid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for text != "" {
		r, size := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError {
			for size < len(text) && !utf8.FullRuneInString(text[:size+1]) {
				size++
			}
		}
		b.WriteRune(r)
		text = text[size:]
	}
	return b.String()
}

func shortened(name string) string {
	const most = 200
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}

package config

import (
	"net/url"
	"regexp"
	"strings"
)

// Discreet is the message of a parser without the text that it quotes from its input, which may be a secret. Single
// characters and the names of keys stay.
func Discreet(message string) string {
	if strings.HasPrefix(message, "Key '") {
		return message
	}
	message = outOfRange.ReplaceAllString(message, "the number is out of range")
	return quoted.ReplaceAllStringFunc(message, func(part string) string {
		if len([]rune(part)) == len("'x'") || strings.HasPrefix(part, `'\`) && len(part) <= len(`'\x'`) {
			return part
		}
		return "..."
	})
}

// What parsers quote.
var (
	quoted     = regexp.MustCompile(`'(?:[^'\\]|\\.)'|'[^']{2,}'|"(?:[^"\\]|\\.)*"`)
	outOfRange = regexp.MustCompile(`^\S+ is out of range`)
)

// withoutSecrets is an address, which may be a wrong one, as a log may show it: "..." stands for what may be a secret,
// which is all before its last @, and its query.
func withoutSecrets(address string) string {
	u, err := url.Parse(address)
	if err == nil && u.User == nil && u.Host != "" {
		return withoutQuery(address)
	}
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return withoutQuery(address)
	}
	scheme, _, ok := strings.Cut(address[:at], "://")
	if !ok {
		return "..." + withoutQuery(address[at:])
	}
	return scheme + "://..." + withoutQuery(address[at:])
}

func withoutQuery(address string) string {
	before, query, there := strings.Cut(address, "?")
	if !there || query == "" {
		return before
	}
	return before + "?..."
}

package mlflow

import (
	"encoding/binary"
	"mime"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"headrace/internal/provider"
)

// inUTF8 is the reply's body in UTF-8. A server may declare another charset, as MLflow's gateway allows; one that
// is not known here counts as UTF-8, as it does there.
func inUTF8(reply provider.Reply) []byte {
	if !strings.Contains(reply.ContentType, ";") { // as a rule
		return reply.Body
	}
	_, params, err := mime.ParseMediaType(reply.ContentType)
	if err != nil {
		return reply.Body
	}
	switch strings.ReplaceAll(strings.ToLower(params["charset"]), "_", "-") {
	case "latin-1", "latin1", "iso-8859-1", "iso8859-1", "l1":
		return fromLatin1(reply.Body)
	case "utf-16le":
		return fromUTF16(reply.Body, binary.LittleEndian)
	case "utf-16be":
		return fromUTF16(reply.Body, binary.BigEndian)
	case "utf-16", "utf16":
		if body, ok := strings.CutPrefix(string(reply.Body), "\xfe\xff"); ok {
			return fromUTF16([]byte(body), binary.BigEndian)
		}
		return fromUTF16([]byte(strings.TrimPrefix(string(reply.Body), "\xff\xfe")), binary.LittleEndian)
	}
	return reply.Body
}

// fromLatin1 makes a character of each byte.
func fromLatin1(body []byte) []byte {
	text := make([]byte, 0, len(body)+len(body)/8)
	for _, c := range body {
		text = utf8.AppendRune(text, rune(c))
	}
	return text
}

// fromUTF16 decodes pairs of bytes; half a pair at the end is one wrong character.
func fromUTF16(body []byte, order binary.ByteOrder) []byte {
	units := make([]uint16, 0, len(body)/2+1)
	for ; len(body) >= 2; body = body[2:] {
		units = append(units, order.Uint16(body))
	}
	if len(body) > 0 {
		units = append(units, utf8.RuneError)
	}
	return []byte(string(utf16.Decode(units)))
}

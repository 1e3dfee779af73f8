package problem

import (
	"strings"
	"unicode/utf8"

	"headrace/internal/fault"
)

// Valid puts a replacement character for what is not UTF-8, as Python does: one for as many bytes as begin a
// character, else one for each byte.
func Valid(text string) string {
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

// Short cuts a name of a caller to what an error may repeat: 200 bytes.
func Short(name string) string {
	const most = 200
	if len(name) > most {
		return strings.ToValidUTF8(name[:most], "") + "…"
	}
	return name
}

// Quotable is a caller's text as an error may repeat it: valid, and not long.
func Quotable(text string) string { return Short(Valid(text)) }

// Sane tells texts that can stand in logs and headers: up to 128 letters, digits and - _ . : / + =.
func Sane(id string) bool {
	const longest = 128
	if id == "" || len(id) > longest {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=':
		default:
			return false
		}
	}
	return true
}

// NoPath is the error for a path that does not exist.
func NoPath(path string) error {
	if VoiceOf(path) == MLflow {
		return fault.New(fault.NotFound, "Not Found")
	}
	return fault.New(fault.NotFound, "There is nothing at %s.", Quotable(path))
}

// NoRoute is the error for a path or a job that names an unknown route.
func NoRoute(v Voice, name string) error {
	if v == MLflow {
		return fault.New(fault.NotFound, "Not Found")
	}
	return fault.New(fault.NotFound, "There is no route %q; GET /v1/routes lists those there are.", Quotable(name))
}

// NoModel is the error for an unknown model, as OpenAI's clients know routes.
func NoModel(name string) error {
	e := fault.New(fault.NotFound, "The model %q does not exist; GET /v1/models lists the names of the routes.", Short(name))
	e.Param = "model"
	return e
}

// NoJob is the error for an unknown job.
func NoJob(name string) error {
	return fault.New(fault.NotFound, "there is no job %q", Quotable(name))
}

// Absent is the error for an entry that a list of MLflow's does not have; word says what the list calls its entries.
func Absent(word, name string) error {
	return fault.New(fault.NotFound, "The %s '%s' is not present or active on the server. Please verify the %s name.",
		word, Valid(name), word)
}

// Param is an error about one field, parameter or header of a request; name is what the body's member param says.
func Param(name, format string, args ...any) error {
	f := fault.New(fault.Invalid, format, args...)
	f.Param = name
	return f
}

// Option is Param with a message that begins with the name.
func Option(name, format string, args ...any) error {
	return Param(name, name+" "+format, args...)
}

// Header is Param for a header, with what it must be.
func Header(name, want string) error {
	return Param(name, "the header %s must be %s", name, want)
}

// Missing is Param for a field that has to be there; what says what it is for.
func Missing(field, what string) error {
	return Param(field, "%s is missing: it %s", field, what)
}

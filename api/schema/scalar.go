package schema

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"headrace/internal/splice"
)

// Float accepts a number from least to most, and what pydantic takes for one: numeric text, true and false.
func Float(least, most float64) Rule {
	return func(c *Check, raw []byte) []byte {
		value, out, ok := float(c, raw)
		switch {
		case !ok:
		case !(value <= most):
			c.FailBound(raw, "less_than_equal", "Input should be less than or equal to "+short(most), map[string]any{"le": most})
		case !(value >= least):
			c.FailBound(raw, "greater_than_equal", "Input should be greater than or equal to "+short(least), map[string]any{"ge": least})
		}
		return out
	}
}

func short(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func float(c *Check, raw []byte) (value float64, out []byte, ok bool) {
	switch splice.KindOf(raw) {
	case splice.Number:
		value, _ = strconv.ParseFloat(string(raw), 64) // what is too large becomes infinite
		return value, raw, true
	case splice.NonFinite:
		return nonFinite(raw), nil, true
	case splice.Bool:
		if raw[0] == 't' {
			return 1, []byte("1.0"), true
		}
		return 0, []byte("0.0"), true
	case splice.String:
		text, err := splice.Unquote(raw)
		if err == nil {
			value, err = parseFloat(text)
		}
		if err != nil {
			c.Fail(raw, "float_parsing", "Input should be a valid number, unable to parse string as a number")
			return 0, nil, false
		}
		return value, strconv.AppendFloat(nil, value, 'g', -1, 64), true
	case splice.Invalid, splice.Null, splice.Array, splice.Object:
	}
	c.Fail(raw, "float_type", "Input should be a valid number")
	return 0, nil, false
}

func nonFinite(raw []byte) float64 {
	switch raw[0] {
	case '-':
		return math.Inf(-1)
	case 'I':
		return math.Inf(1)
	}
	return math.NaN()
}

// parseFloat reads decimal text, NaN and infinity as Python's float does; no hexadecimal.
func parseFloat(text string) (float64, error) {
	text, ok := plainNumber(text)
	if !ok || strings.ContainsAny(text, "xXpP") {
		return 0, strconv.ErrSyntax
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil && math.IsInf(value, 0) {
		return value, nil
	}
	return value, err
}

// plainNumber takes the blanks around a number and the underscores between its digits away.
func plainNumber(text string) (string, bool) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "_") || strings.HasSuffix(text, "_") || strings.Contains(text, "__") {
		return "", false
	}
	return strings.ReplaceAll(text, "_", ""), true
}

// Int accepts an integer from least to most, and what pydantic takes for one: 2.0, numeric text, true and
// false. Integers of any length are kept as they are; a most of math.MaxInt64 is no bound.
func Int(least, most int64) Rule {
	return func(c *Check, raw []byte) []byte {
		out, ok := integer(c, raw)
		if !ok {
			return nil
		}
		value, _ := strconv.ParseInt(string(out), 10, 64) // what is too long becomes the largest or the smallest
		switch {
		case value > most:
			c.FailBound(raw, "less_than_equal", "Input should be less than or equal to "+strconv.FormatInt(most, 10), map[string]any{"le": most})
		case value < least:
			c.FailBound(raw, "greater_than_equal", "Input should be greater than or equal to "+strconv.FormatInt(least, 10), map[string]any{"ge": least})
		}
		return out
	}
}

// Integer accepts what Int accepts, without bounds.
func Integer(c *Check, raw []byte) []byte {
	out, _ := integer(c, raw)
	return out
}

func integer(c *Check, raw []byte) (out []byte, ok bool) {
	switch splice.KindOf(raw) {
	case splice.Number:
		if !bytes.ContainsAny(raw, ".eE") {
			return raw, true
		}
		value, _ := strconv.ParseFloat(string(raw), 64)
		return fromFloat(c, raw, value)
	case splice.NonFinite:
		return fromFloat(c, raw, nonFinite(raw))
	case splice.Bool:
		if raw[0] == 't' {
			return []byte("1"), true
		}
		return []byte("0"), true
	case splice.String:
		if text, err := splice.Unquote(raw); err == nil {
			if digits, ok := parseInt(text); ok {
				return []byte(digits), true
			}
		}
		c.Fail(raw, "int_parsing", "Input should be a valid integer, unable to parse string as an integer")
		return nil, false
	case splice.Invalid, splice.Null, splice.Array, splice.Object:
	}
	c.Fail(raw, "int_type", "Input should be a valid integer")
	return nil, false
}

func fromFloat(c *Check, raw []byte, value float64) ([]byte, bool) {
	switch {
	case math.IsInf(value, 0) || math.IsNaN(value):
		c.Fail(raw, "finite_number", "Input should be a finite number")
	case value != math.Trunc(value):
		c.Fail(raw, "int_from_float", "Input should be a valid integer, got a number with a fractional part")
	case math.Abs(value) >= 1<<63:
		c.Fail(raw, "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size")
	default:
		return strconv.AppendInt(nil, int64(value), 10), true
	}
	return nil, false
}

// Whole reads text as Python's int does, lenient about blanks, signs and underscores; the result is in
// canonical spelling. A fraction of zeros is let in, as pydantic does.
func Whole(text string) (digits string, ok bool) { return parseInt(text) }

// parseInt normalises decimal text: signs, leading zeros, underscores between digits, a fraction of zeros.
func parseInt(text string) (string, bool) {
	const longest = 4300 // pydantic's
	text, ok := plainNumber(text)
	if !ok || len(text) > longest {
		return "", false
	}
	sign := ""
	switch {
	case strings.HasPrefix(text, "-"):
		sign, text = "-", text[1:]
	case strings.HasPrefix(text, "+"):
		text = text[1:]
	}
	whole, fraction, point := strings.Cut(text, ".")
	if whole == "" || strings.Trim(whole, "0123456789") != "" || strings.Trim(fraction, "0") != "" || point && fraction == "" {
		return "", false
	}
	whole = strings.TrimLeft(whole, "0")
	if whole == "" {
		return "0", true
	}
	return sign + whole, true
}

// int64Of is the number as 64 bits; false when it has more, or a fraction.
func int64Of(raw []byte) (int64, bool) {
	if !bytes.ContainsAny(raw, ".eE") {
		n, err := strconv.ParseInt(string(raw), 10, 64)
		return n, err == nil
	}
	value, _ := strconv.ParseFloat(string(raw), 64)
	return int64(value), value == math.Trunc(value) && math.Abs(value) < 1<<63
}

// Bool accepts true and false, and what pydantic takes for them: 0 and 1, and words such as "yes" and "off".
func Bool(c *Check, raw []byte) []byte {
	word := ""
	switch splice.KindOf(raw) {
	case splice.Bool:
		return raw
	case splice.Number:
		n, ok := int64Of(raw)
		if !ok {
			break
		}
		word = strconv.FormatInt(n, 10)
		fallthrough
	case splice.String:
		if word == "" {
			word, _ = splice.Unquote(raw)
		}
		switch strings.ToLower(word) {
		case "1", "on", "t", "true", "y", "yes":
			return []byte("true")
		case "0", "off", "f", "false", "n", "no":
			return []byte("false")
		}
		c.Fail(raw, "bool_parsing", "Input should be a valid boolean, unable to interpret input")
		return nil
	case splice.Invalid, splice.Null, splice.NonFinite, splice.Array, splice.Object:
	}
	c.Fail(raw, "bool_type", "Input should be a valid boolean")
	return nil
}

package inference

import (
	"fmt"
	"io"
)

// Secret is a text that no log, error or listing may show. However it is printed or encoded it is hidden; a conversion to
// string gives the text itself.
type Secret string

const hidden = "[hidden]"

// Format hides the text from package fmt, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText hides the text from encoders.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

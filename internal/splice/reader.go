package splice

// Value is one located value.
type Value struct {
	// Raw is the value's text, without surrounding blanks. It aliases the text it was found in.
	Raw  []byte
	Kind Kind
	// NonFinite: the value is or contains NaN, Infinity, -Infinity, or a number beyond float64. Nulled(Raw)
	// replaces them.
	NonFinite bool
	// Len is the number of elements of an array; 0 for other kinds.
	Len int
	// Numbers: the value is an array and every element is a number, NaN and Infinity included.
	Numbers bool
}

// Reader passes over JSON text once, from left to right. Every method that moves it checks what it passes;
// after an error it must not be used any more. Errors are *SyntaxError or come from a callback.
type Reader struct {
	s     scan
	pos   int
	depth int
}

// NewReader reads text. The slices it hands out alias text.
func NewReader(text []byte) *Reader { return &Reader{s: scan{src: text}} }

// Kind tells the kind of the next value without moving past it.
func (r *Reader) Kind() Kind {
	r.pos = skipSpace(r.s.src, r.pos)
	return KindOf(r.s.src[r.pos:])
}

// Value passes over the next value and describes it.
func (r *Reader) Value() (Value, error) {
	start := skipSpace(r.s.src, r.pos)
	r.s.nonFinite, r.s.count, r.s.numbers = false, 0, false
	end := r.s.value(start, r.depth)
	if end < 0 {
		return Value{}, r.s.err
	}
	r.pos = end
	v := Value{Raw: r.s.src[start:end:end], NonFinite: r.s.nonFinite}
	v.Kind = KindOf(v.Raw)
	if v.Kind == Array {
		v.Len, v.Numbers = r.s.count, r.s.numbers
	}
	return v, nil
}

// Object passes over the next value, which must be an object. For each member it calls f with the decoded
// key, standing before the member's value: f may read that one value, with any method, or leave it; what it
// leaves is passed over. An error of f ends the pass and is returned.
func (r *Reader) Object(f func(key string) error) error {
	return r.container('{', '}', func(int) error {
		start := skipSpace(r.s.src, r.pos)
		end := r.s.key(start)
		if end < 0 {
			return r.s.err
		}
		key, err := unquote(r.s.src[start:end])
		if err != nil {
			return err
		}
		if r.pos = r.s.colon(end); r.pos < 0 {
			return r.s.err
		}
		return r.one(func() error { return f(key) })
	})
}

// Array passes over the next value, which must be an array. For each element it calls f with the index,
// standing before the element: f may read it, with any method, or leave it; what it leaves is passed over.
func (r *Reader) Array(f func(index int) error) error {
	return r.container('[', ']', func(i int) error {
		return r.one(func() error { return f(i) })
	})
}

// End checks that nothing but blanks is left.
func (r *Reader) End() error {
	if r.pos = skipSpace(r.s.src, r.pos); r.pos < len(r.s.src) {
		return &SyntaxError{Offset: r.pos, Reason: "unexpected text after the value"}
	}
	return nil
}

// one lets f read the value ahead, and reads it itself when f did not.
func (r *Reader) one(f func() error) error {
	before := r.pos
	if err := f(); err != nil {
		return err
	}
	if r.pos != before {
		return nil
	}
	_, err := r.Value()
	return err
}

func (r *Reader) container(opening, closing byte, item func(int) error) error {
	src := r.s.src
	r.pos = skipSpace(src, r.pos)
	if at(src, r.pos) != opening {
		what := "expected an object"
		if opening == '[' {
			what = "expected a list"
		}
		return &SyntaxError{Offset: r.pos, Reason: what}
	}
	if r.depth >= MaxDepth {
		return &SyntaxError{Offset: r.pos, Reason: tooDeep}
	}
	r.depth++
	defer func() { r.depth-- }()
	r.pos = skipSpace(src, r.pos+1)
	if at(src, r.pos) == closing {
		r.pos++
		return nil
	}
	for i := 0; ; i++ {
		// Blanks are skipped here so that Kind, which skips them too, does not look like reading.
		r.pos = skipSpace(src, r.pos)
		if err := item(i); err != nil {
			return err
		}
		r.pos = skipSpace(src, r.pos)
		switch at(src, r.pos) {
		case ',':
			r.pos++
		case closing:
			r.pos++
			return nil
		default:
			return &SyntaxError{Offset: r.pos, Reason: "expected , or " + string(closing)}
		}
	}
}

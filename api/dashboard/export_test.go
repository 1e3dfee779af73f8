package dashboard

// ReadLine reads a filter line and tells how many words it has.
func ReadLine(line string) (int, error) {
	terms, err := readLine(line)
	return len(terms), err
}

// Clean is what a foreign text becomes.
func Clean(text string, most int) string { return clean(text, most) }

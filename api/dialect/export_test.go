package dialect

// ReadPageToken reads a page token.
func ReadPageToken(token string) (int, bool) { return readPageToken(token) }

// PageToken makes one.
func PageToken(index int) string { return pageToken(index) }

// Base64Floats packs a row.
func Base64Floats(row []byte) ([]byte, error) { return base64Floats(row) }

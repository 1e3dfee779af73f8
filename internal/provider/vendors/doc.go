// Package vendors has what providers of vendors' models share: JSON objects while they are read and written, the check of a
// reply's form, and what an error of a vendor means. It is pure: bytes in, bytes out.
package vendors

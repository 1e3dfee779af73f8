//go:build race

package calls_test

// raceDetector makes copying megabytes some forty times slower, so tests copy fewer of them.
const raceDetector = true

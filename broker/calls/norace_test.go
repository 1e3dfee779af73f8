//go:build !race

package calls_test

// raceDetector is off: tests copy what users would.
const raceDetector = false

//go:build !race

package broker_test

// raceDetector is off: tests copy what users would.
const raceDetector = false

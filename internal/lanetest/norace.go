//go:build !race

package lanetest

// RaceDetector is off: tests copy what users would.
const RaceDetector = false

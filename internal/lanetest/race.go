//go:build race

package lanetest

// RaceDetector makes copying megabytes some forty times slower, so tests copy fewer of them.
const RaceDetector = true

// Package problem says errors over HTTP: which status a fault has, how its body reads in each dialect, and when a caller may
// try again. It is pure: a *fault.Error in, a Reply out; api writes it.
//
// It owns the one table from fault.Code to status (meaningOf), the three voices, and the texts for names that do not exist.
// Begin at Of; problem.go has the table, body.go the three forms, pause.go Retry-After.
package problem

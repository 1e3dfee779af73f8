// Package recent remembers what a front end answered lately: a ring of calls, with everything but their bodies, and figures
// of each second and each minute. Both have a fixed size, are written on the way of every call, and are lost with the
// process. Begin at Ring.
package recent

// Package limit enforces the rate limits of routes, exactly over all front ends that share a broker. It owns the streams in
// which windows and their counts stand. Begin with Limiter.Take.
package limit

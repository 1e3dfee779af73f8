package main

import (
	"bufio"
	"context"
	"time"
)

// The names that the tests use.
type (
	Gate   = gate
	Target = target
	Window = window
	Tail   = tail
)

func Quantile(sorted []time.Duration, q float64) time.Duration { return quantile(sorted, q) }

func Ratios(a, b []float64) []float64 { return ratios(a, b) }

func Rotated(all []int, round int) []int { return rotated(all, round) }

func ReadHead(in *bufio.Reader) (status, length int, err error) { return readHead(in) }

func Drive(ctx context.Context, t *Target, n int, length time.Duration) (Window, error) {
	return drive(ctx, t, n, length)
}

func ParseStat(line string) time.Duration { return parseStat(line) }

func ParseStatus(text string) (now, peak int64, err error) { return parseStatus(text) }

func Number(f float64) string { return number(f) }

func AtMost(what string, value, bound float64, format string) Gate {
	return atMost(what, value, bound, format)
}

func AtLeast(what string, value, bound float64, format string) Gate {
	return atLeast(what, value, bound, format)
}

func Parse(args []string) (options, error) { return parse(args) }

func CountInputs(body []byte) int { return countInputs(body) }

// SpreadOf opens spreadOf.
func SpreadOf(rounds []float64) (low, median, high float64) {
	s := spreadOf(rounds)
	return s.min, s.median, s.max
}

// NewTarget makes a target with one request.
func NewTarget(addr, request string, least, most int) *Target {
	return &target{name: "test", addr: addr, requests: [][]byte{post(addr, "/", request)}, least: least, most: most}
}

// Counts tells what a window counted.
func (w Window) Counts() (calls, failed int, why error) { return w.calls, w.failed, w.why }

// OK tells whether a gate was reached.
func (g Gate) OK() bool { return g.ok }

// Rounds is the option of that name.
func (o options) Rounds() int { return o.rounds }

// Add gives the target one more request, good or bad.
func (t *Target) Add(request string, bad bool) {
	t.bad = append(make([]bool, len(t.requests)), bad)
	t.requests = append(t.requests, post(t.addr, "/", request))
}

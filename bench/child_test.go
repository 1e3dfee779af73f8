package main_test

import (
	"strings"
	"testing"
	"time"

	main "headrace/bench"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		line string
		want time.Duration
	}{
		"good":          {"42 (headrace) S 1 42 42 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 9 0 1 2 3", 2 * time.Second},
		"odd name":      {"42 (a) b (c) S 1 42 42 0 -1 4194560 9 0 0 0 7 1 0 0 20", 80 * time.Millisecond},
		"short":         {"42 (headrace) S 1 42", 0},
		"not a number":  {"42 (h) S 1 42 42 0 -1 4194560 9 0 0 0 x 50 0", 0},
		"nothing at al": {"", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := main.ParseStat(tt.line); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	now, peak, err := main.ParseStatus("Name:\theadrace\nVmPeak:\t  900 kB\nVmHWM:\t     200 kB\nVmRSS:\t     100 kB\nThreads:\t9\n")
	if now != 100<<10 || peak != 200<<10 || err != nil {
		t.Errorf("got %d, %d, %v", now, peak, err)
	}
	for _, text := range []string{"", "VmRSS:\t100 kB\n", "VmRSS:\tmuch\nVmHWM:\t200 kB\n"} {
		if _, _, err := main.ParseStatus(text); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestTailKeepsTheLast(t *testing.T) {
	t.Parallel()
	var tail main.Tail
	for range 5000 {
		if _, err := tail.Write([]byte("line\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tail.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	if text := tail.String(); !strings.HasSuffix(text, "line\nlast words") || len(text) > 8<<10 {
		t.Errorf("%d bytes that end with %q", len(text), text[len(text)-20:])
	}
}

func TestCountInputs(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int{
		`{"inputs": ["a"]}`:           1,
		`{"inputs":["a", "b"]}`:       2,
		`{"inputs": []}`:              0,
		`{"inputs": ["a", "b", "c"]}`: 3,
		``:                            0,
	} {
		if got := main.CountInputs([]byte(body)); got != want {
			t.Errorf("%s: got %d, want %d", body, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"-rounds 0", "-window 1ms", "-only nothing", "speed", "-nope"} {
		if _, err := main.Parse(strings.Fields(line)); err == nil {
			t.Errorf("%s: no error", line)
		}
	}
	if o, err := main.Parse(nil); err != nil || o.Rounds() != 7 {
		t.Errorf("defaults: %+v, %v", o, err)
	}
}

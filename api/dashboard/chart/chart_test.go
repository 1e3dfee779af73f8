package chart_test

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"headrace/api/dashboard/chart"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wellFormed fails unless text is XML.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
}

func TestPlotDrawsEachStretchBetweenGaps(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	got := string(chart.Plot(10, nil, chart.Series{Class: "a", Values: []float64{0, 10, nan, 5, 20}, Filled: true}))
	wellFormed(t, got)
	if !strings.Contains(got, `class="line a" d="M0 119h.1L150 1M450 60h.1L600 1"`) || !strings.Contains(got, `d="M0 120L0 119L150 1V120ZM450 120L450 60L600 1V120Z"`) {
		t.Error(got)
	}
	for _, values := range [][]float64{nil, {1}, {nan, nan}} {
		if got := string(chart.Plot(10, nil, chart.Series{Class: "a", Values: values})); strings.Contains(got, `"line`) {
			t.Errorf("%v: %s", values, got)
		}
	}
}

func TestTextsOfMarksAreEscaped(t *testing.T) {
	t.Parallel()
	got := string(chart.Plot(1, []chart.Mark{{Text: `<script>"&`, Link: `/ui?q="><script>`}}))
	wellFormed(t, got)
	if strings.Contains(got, "<script>") {
		t.Error(got)
	}
}

func TestBarsStayInTheirBox(t *testing.T) {
	t.Parallel()
	got := string(chart.Bar(chart.Part{Class: "a", From: -1, To: 0.5}, chart.Part{Class: "b", From: 1, To: 1}, chart.Part{Class: "c", From: 0.9999, To: 7}, chart.Part{Class: "d", From: math.NaN(), To: math.NaN()}))
	wellFormed(t, got)
	if !strings.Contains(got, `class="a" x="0" y="0" width="500"`) || !strings.Contains(got, `class="c" x="998" y="0" width="2"`) || strings.Contains(got, `"b"`) || strings.Contains(got, `"d"`) {
		t.Error(got)
	}
}

func TestCeiling(t *testing.T) {
	t.Parallel()
	for most, want := range map[float64]float64{0: 1, 0.3: 1, 1: 1, 1.01: 2, 3: 5, 7: 10, 99: 100, 1e6: 1e6} {
		if got := chart.Ceiling(1, chart.Series{Values: []float64{most, math.NaN()}}); got != want {
			t.Errorf("%v: %v, want %v", most, got, want)
		}
	}
}

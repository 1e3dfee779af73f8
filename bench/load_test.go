package main_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	main "headrace/bench"
)

func TestReadHead(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		head           string
		status, length int
		fails          bool
	}{
		"good":             {"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX: y\r\n\r\n", 200, 12, false},
		"another spelling": {"HTTP/1.1 503 Service Unavailable\r\ncontent-length:0\r\n\r\n", 503, 0, false},
		"no reason":        {"HTTP/1.1 204\r\nContent-Length: 0\r\n\r\n", 204, 0, false},
		"no length":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 0, true},
		"negative length":  {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 0, 0, true},
		"no number":        {"HTTP/1.1 abc OK\r\nContent-Length: 1\r\n\r\n", 0, 0, true},
		"not HTTP":         {"220 smtp.example.org ESMTP\r\n\r\n", 0, 0, true},
		"short":            {"HTTP/1.1\r\n\r\n", 0, 0, true},
		"cut":              {"HTTP/1.1 200 OK\r\nContent-Le", 0, 0, true},
		"empty":            {"", 0, 0, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, length, err := main.ReadHead(bufio.NewReader(strings.NewReader(tt.head)))
			if (err != nil) != tt.fails || status != tt.status || length != tt.length {
				t.Errorf("got %d, %d, %v", status, length, err)
			}
		})
	}
}

func FuzzReadHead(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
	f.Add("HTTP/1.1 \n\n")
	f.Add("HTTP/1.1 200 OK\nCONTENT-LENGTH: 99999999999999999999\n\n")
	f.Fuzz(func(t *testing.T, head string) {
		_, length, err := main.ReadHead(bufio.NewReader(strings.NewReader(head)))
		if err == nil && length < 0 {
			t.Errorf("a length of %d", length)
		}
	})
}

// server answers the nth call with what answer says.
func server(t *testing.T, answer func(n int64, w http.ResponseWriter)) string {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "question" {
			http.Error(w, "what?", http.StatusBadRequest)
			return
		}
		answer(n.Add(1), w)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func write(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func TestDriveCountsGoodCalls(t *testing.T) {
	t.Parallel()
	var served atomic.Int64
	addr := server(t, func(n int64, w http.ResponseWriter) {
		served.Store(n)
		write(w, http.StatusOK, "answer")
	})
	w, err := main.Drive(t.Context(), main.NewTarget(addr, "question", 6, 6), 4, 100*time.Millisecond)
	calls, failed, why := w.Counts()
	if err != nil || failed != 0 || why != nil {
		t.Fatalf("%v; %d failed: %v", err, failed, why)
	}
	if want := int(served.Load()) - 4; calls != want || calls == 0 { // each client made one call before
		t.Errorf("%d calls counted, %d made", calls, want)
	}
}

func TestDriveCountsFailures(t *testing.T) {
	t.Parallel()
	const clients = 2
	tests := map[string]func(w http.ResponseWriter){
		"status": func(w http.ResponseWriter) { write(w, http.StatusServiceUnavailable, "answer") },
		"length": func(w http.ResponseWriter) { write(w, http.StatusOK, "other answer") },
		"cut":    func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, //nolint:forbidigo // how a handler cuts a connection
	}
	for name, fail := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := server(t, func(n int64, w http.ResponseWriter) {
				if n > clients && n%2 == 0 {
					fail(w)
					return
				}
				write(w, http.StatusOK, "answer")
			})
			w, err := main.Drive(t.Context(), main.NewTarget(addr, "question", 6, 6), clients, 100*time.Millisecond)
			calls, failed, why := w.Counts()
			if err != nil {
				t.Fatal(err)
			}
			if failed == 0 || why == nil || calls == 0 {
				t.Errorf("%d calls, %d failed: %v", calls, failed, why)
			}
		})
	}
}

func TestDriveFailsWithoutServer(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	addr := s.Listener.Addr().String()
	s.Close()
	if _, err := main.Drive(t.Context(), main.NewTarget(addr, "question", 1, 1), 1, time.Millisecond); err == nil {
		t.Error("no error")
	}
}

func TestRequestsThatHaveToBeRefusedAreNoGoodCalls(t *testing.T) {
	t.Parallel()
	addr := server(t, func(n int64, w http.ResponseWriter) {
		if n%2 == 0 { // the second of each two requests is bad
			write(w, http.StatusBadRequest, "no")
			return
		}
		write(w, http.StatusOK, "yes")
	})
	target := main.NewTarget(addr, "question", 3, 3)
	target.Add("question", true)
	w, err := main.Drive(t.Context(), target, 1, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if calls, failed, why := w.Counts(); calls == 0 || failed != 0 {
		t.Errorf("%d calls, %d failed: %v", calls, failed, why)
	}
	addr = server(t, func(_ int64, w http.ResponseWriter) { write(w, http.StatusOK, "yes") })
	target = main.NewTarget(addr, "question", 3, 3)
	target.Add("question", true)
	if w, err = main.Drive(t.Context(), target, 1, 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if calls, failed, _ := w.Counts(); calls == 0 || failed == 0 {
		t.Errorf("a bad request that is answered: %d calls, %d failed", calls, failed)
	}
}

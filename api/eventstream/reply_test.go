package eventstream_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"headrace/api/dialect"
	"headrace/api/eventstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a connection that fails once its deadline has passed.
type wire struct {
	*httptest.ResponseRecorder

	deadline time.Time
}

// SetWriteDeadline is part of what http.ResponseController looks for.
func (w *wire) SetWriteDeadline(t time.Time) error {
	w.deadline = t
	return nil
}

// Write fails when it comes too late.
func (w *wire) Write(p []byte) (int, error) {
	if time.Now().After(w.deadline) {
		return 0, errors.New("too late")
	}
	return w.ResponseRecorder.Write(p)
}

func TestEachWriteHasATimeOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{ResponseRecorder: httptest.NewRecorder()}
		r := eventstream.New(w, w, time.Minute)
		if r.Begun() {
			t.Error("it has begun by itself")
		}
		for range 3 {
			if err := r.Send([]byte(": waiting\n\n")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute) //nolint:forbidigo // the clock is the test's
		}
		if err := r.Write(new(dialect.Output)); err != nil {
			t.Errorf("the last write: %v", err)
		}
		if w.Code != http.StatusOK || w.Header().Get(eventstream.Header) != eventstream.Whole || !r.Begun() {
			t.Errorf("%d %v", w.Code, w.Header())
		}
	})
}

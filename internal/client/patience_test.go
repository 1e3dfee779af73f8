package client_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"headrace/internal/client"
)

// A gateway says how long to leave it alone; one that stays away is given up after a while.
func TestRetryAfterIsHeeded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status      int
		after       string
		least, most time.Duration
		times       int // at least; 0: the error is final
	}{
		{503, "7", 7 * time.Second, 9 * time.Second, 12},
		{503, "", time.Second, 1250 * time.Millisecond, 90},
		{503, "100000", 30 * time.Second, 38 * time.Second, 3},
		{429, "2", 2 * time.Second, 2500 * time.Millisecond, 40},
		{404, "7", 0, 0, 0},
		{500, "", 0, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			pauses, err := bear(t.Context(), 2*time.Minute, test.status, test.after)
			if err == nil || len(pauses) < test.times || time.Since(began) > 2*time.Minute || test.times == 0 && len(pauses) > 0 {
				t.Errorf("%d %q: %v after %v, %v", test.status, test.after, err, time.Since(began), pauses)
			}
			for _, pause := range pauses {
				if pause < test.least || pause > test.most {
					t.Errorf("%d %q: a pause of %v", test.status, test.after, pause)
				}
			}
		})
	}
}

// bear waits as one that has reached a gateway before, which now answers with a status, until it gives up.
func bear(ctx context.Context, limit time.Duration, status int, retryAfter string) (pauses []time.Duration, err error) {
	p := &client.Patience{Told: io.Discard, Limit: limit}
	p.Reached()
	for {
		resp := &http.Response{StatusCode: status, Status: strconv.Itoa(status), Header: http.Header{"Retry-After": {retryAfter}}}
		began := time.Now()
		if err := p.Bear(ctx, client.Refusal(resp, nil)); err != nil {
			return pauses, err
		}
		pauses = append(pauses, time.Since(began))
	}
}

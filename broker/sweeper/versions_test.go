package sweeper_test

import (
	"fmt"
	"testing"

	"headrace/broker/sweeper"
)

// A version is removed when what has replaced it was written before an end: one sync covers both.
func TestSupersededVersions(t *testing.T) {
	t.Parallel()
	var v sweeper.Versions
	take := func(want string) {
		t.Helper()
		numbers, end := v.Take()
		if got := fmt.Sprint(numbers, end); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	take("[] 0")
	v.Replaced(1, 3)
	v.Replaced(2, 4)
	take("[] 0") // nothing has ended: no caller waits for a sync
	v.Ended(3)
	take("[1] 3")
	take("[] 3")
	v.Replaced(4, 7)
	v.Replaced(3, 6)
	v.Ended(6)
	take("[2 3] 6")
	v.Ended(5) // told once more, after the connection was lost
	take("[] 6")
	v.Ended(7)
	take("[4] 7")
}

package app_test

import (
	"testing"

	"headrace/internal/app"
)

func TestResting(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	var r app.Resting
	for n, step := range []struct {
		allocated uint64
		begun     bool
	}{
		{40 * mb, false},         // starting: the ballast
		{41 * mb, false},         // nothing was done that is worth it
		{900 * mb, false},        // a burst
		{1700 * mb, false},       // which goes on
		{1701 * mb, true},        // and is over
		{1702 * mb, false},       // once is enough
		{1702*mb + 60*mb, false}, // busy
		{1763 * mb, false},       // too little to give back
		{1800 * mb, false},       // busy again
		{1810 * mb, true},        // this is
	} {
		if got := r.Begun(step.allocated); got != step.begun {
			t.Errorf("step %d: begun is %t after %d MB", n, got, step.allocated/mb)
		}
	}
}

func TestMemoryLimitFollowsWhatIsAlive(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, tt := range []struct{ live, want int64 }{{0, 208}, {100, 208}, {160, 208}, {180, 228}, {1000, 1250}} {
		if got := app.MemoryLimit(uint64(tt.live*mib)) / mib; got != tt.want {
			t.Errorf("with %d MiB alive the limit is %d MiB, want %d", tt.live, got, tt.want)
		}
	}
}

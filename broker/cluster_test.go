package broker_test

import (
	"os"
	"testing"
	"time"
)

// slow is how long after its place in the queue a job on a healthy, idle cluster may start.
const slow = time.Second

func TestBothLanesRunOnThreeServers(t *testing.T) {
	t.Parallel()
	b := newBoth(t, 6)
	length := 3 * time.Second
	if os.Getenv("CLUSTER") != "" {
		length = 20 * time.Second
	}
	called, placed := b.run(40, length, 10*time.Second, nil)
	all := b.ends(placed, 45*time.Second)
	t.Logf("%d calls: %s", len(called), spread(times(called)))
	t.Logf("%d jobs: accepted %s; started %s", len(placed), spread(times(placed)), spread(waits(all)))
	if text := failures(append(called, placed...)); text != "" {
		t.Errorf("failures on a healthy cluster:\n%s", text)
	}
	late := 0
	for _, one := range all {
		if one.record == nil || one.wait > slow {
			late++
		}
	}
	if late > 0 {
		t.Errorf("%d of %d jobs started more than %s late, or not at all", late, len(all), slow)
	}
	for _, one := range called {
		if one.err == nil && one.took > slow {
			t.Errorf("a call took %s", one.took)
		}
	}
}

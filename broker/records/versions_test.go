package records_test

import (
	"testing"

	"headrace/broker/records"
)

func TestRemovedVersion(t *testing.T) {
	t.Parallel()
	for answer, fails := range map[string]bool{
		`{"success":true}`: false,
		`{"error":{"code":400,"err_code":10043,"description":"sequence 7 not found"}}`:                     false,
		`{"error":{"code":500,"err_code":10057,"description":"no message found"}}`:                         false,
		`{"error":{"code":500,"err_code":10057,"description":"write: no space left on device"}}`:           true,
		`{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`: true,
		`{`: true,
		``:  true,
	} {
		if err := records.Removed([]byte(answer)); (err != nil) != fails {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

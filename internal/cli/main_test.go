package cli_test

import (
	"encoding/json"
	"testing"

	"go.uber.org/goleak"

	"headrace/internal/apptest"
	"headrace/internal/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, natstest.Leaks()...) }

// jobOf asks for a job, waiting for its end, and gives its status.
func jobOf(t *testing.T, addr, id string) string {
	t.Helper()
	status, body := apptest.Get(t, "http://"+addr+"/v1/jobs/"+id+"?wait=30")
	var job struct {
		Status string `json:"status"`
	}
	if err := json.Unmarshal([]byte(body), &job); err != nil || status != 200 {
		t.Errorf("%d %s", status, body)
	}
	return job.Status
}

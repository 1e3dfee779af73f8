package records_test

import (
	"strings"
	"testing"

	"headrace/broker/records"
	"headrace/internal/job"
)

// A change that adds a member to the record raises job.Edition, or job.Schema when older versions would misunderstand it, and
// then changes this list.
func TestJobRecordMembers(t *testing.T) {
	t.Parallel()
	const edition, members = 1, "id run route provider type priority state reason created_at run_at queued_at started_at finished_at next_attempt_at " +
		"cancel_asked_at deadline queue_expires_at expires_at total queue_time timeout result_ttl retry store starts attempt interruptions " +
		"alone_interruptions apart attempts owner input result error upstream fingerprint idempotency_key metadata tags durability request_id form " +
		"schema edition - -"
	if got := strings.Join(records.RecordFields(), " "); got != members || job.Edition != edition {
		t.Errorf("edition %d of the record has the members %s", job.Edition, got)
	}
}

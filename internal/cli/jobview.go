package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

func now() time.Time { return time.Now() }

// shown is what a person wants to know of a job.
type shown struct {
	ID            string            `json:"id"`
	Route         string            `json:"route"`
	Status        string            `json:"status"`
	Reason        *string           `json:"status_reason"`
	Priority      string            `json:"priority"`
	Tags          []string          `json:"tags"`
	Metadata      map[string]string `json:"metadata"`
	Run           int               `json:"run"`
	Tries         int               `json:"attempt"`
	Most          int               `json:"max_attempts"`
	Interruptions int               `json:"interruptions"`
	Error         *struct {
		Detail string `json:"detail"`
		Code   string `json:"code"`
	} `json:"error"`
	CreatedAt       time.Time  `json:"created_at"`
	RunAt           *time.Time `json:"run_at"`
	StartedAt       *time.Time `json:"started_at"`
	FinishedAt      *time.Time `json:"finished_at"`
	NextAttemptAt   *time.Time `json:"next_attempt_at"`
	Deadline        *time.Time `json:"deadline"`
	ResultExpiresAt *time.Time `json:"result_expires_at"`
	ResultInfo      *struct {
		Bytes int64 `json:"bytes"`
	} `json:"result_info"`
	Queue *struct {
		Position int        `json:"position_estimate"`
		StartsAt *time.Time `json:"estimated_start_at"`
		Paused   *bool      `json:"paused"`
	} `json:"queue"`

	paused bool // its queue, as far as is known
}

func (s *shown) ended() bool { return s.FinishedAt != nil }

func readShown(answer []byte) (*shown, error) {
	s := new(shown)
	if err := json.Unmarshal(answer, s); err != nil {
		return nil, fmt.Errorf("reading a job: %w", err)
	}
	if s.Queue != nil && s.Queue.Paused != nil {
		s.paused = *s.Queue.Paused
	}
	return s, nil
}

// waits tells that a job waits for a slot, and not for a time.
func (s *shown) waits() bool { return s.Status == "queued" }

// learnPaused asks whether the queue of a job that waits is paused, where the job does not say it.
func (j *jobsRun) learnPaused(ctx context.Context, s *shown) {
	if !s.waits() || s.Queue != nil && s.Queue.Paused != nil {
		return
	}
	answer, err := j.client.do(ctx, http.MethodGet, "/v1/queues/"+url.PathEscape(s.Route), nil)
	var queue struct {
		Paused bool `json:"paused"`
	}
	if err == nil && json.Unmarshal(answer, &queue) == nil {
		s.paused = queue.Paused
	}
}

func statusTint(status string) tint {
	switch status {
	case "succeeded":
		return green
	case "failed":
		return red
	case "cancelled", "expired", "cancelling", "retrying":
		return yellow
	case "running":
		return cyan
	default:
		return plain
	}
}

// line is a job on one line, its id first.
func (s *shown) line(coloured bool) string { //nolint:revive // it is how, not what
	status := s.Status
	if coloured {
		status = paint(status, statusTint(s.Status))
	}
	text := fmt.Sprintf("%s  %s  %s", s.ID, s.Route, status)
	if why := s.why(); why != "" {
		text += " (" + why + ")"
	}
	if s.Tries > 1 {
		text += fmt.Sprintf("  attempt %d of %d", s.Tries, s.Most)
	}
	if s.ended() {
		text += "  after " + inWords(s.FinishedAt.Sub(s.CreatedAt))
	}
	if s.Error != nil {
		text += "  " + oneLine(s.Error.Detail, 500)
	}
	return text
}

// why says what is behind a status.
func (s *shown) why() string {
	switch {
	case s.waits() && s.paused:
		return fmt.Sprintf("the queue is paused; `headrace queues resume %s` starts it", s.Route)
	case s.Reason != nil:
		return oneLine(*s.Reason, 200)
	default:
		return ""
	}
}

// seenFrom writes a time with how far it is from another; nil is "".
func seenFrom(at time.Time, t *time.Time) string {
	switch {
	case t == nil:
		return ""
	case t.After(at):
		return fmt.Sprintf("%s (in %s)", t.UTC().Format(time.DateTime+"Z"), inWords(t.Sub(at)))
	default:
		return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.DateTime+"Z"), inWords(at.Sub(*t)))
	}
}

// pairs writes the metadata.
func (s *shown) pairs() string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(s.Metadata)) {
		pairs = append(pairs, key+"="+s.Metadata[key])
	}
	return oneLine(strings.Join(pairs, ", "), 2000)
}

func (s *shown) attempts() string {
	text := fmt.Sprintf("%d of %d", s.Tries, s.Most)
	if s.Interruptions > 0 {
		text += ", " + count(s.Interruptions, "interruption")
	}
	if s.Run > 1 {
		text += fmt.Sprintf(", in run %d", s.Run)
	}
	return text
}

// details writes a job over several lines, for a person.
func (s *shown) details(w io.Writer, at time.Time, coloured bool) error { //nolint:revive // it is how, not what
	var b strings.Builder
	row := func(name, text string) {
		if text != "" {
			_, _ = fmt.Fprintf(&b, "%-9s  %s\n", name, text)
		}
	}
	ago := func(t *time.Time) string { return seenFrom(at, t) }
	status := s.Status
	if coloured {
		status = paint(status, statusTint(s.Status))
	}
	if why := s.why(); why != "" {
		status += " (" + why + ")"
	}
	row("id", s.ID)
	row("route", s.Route)
	row("status", status)
	if s.Error != nil {
		row("error", oneLine(s.Error.Detail, 2000)+" ("+s.Error.Code+")")
	}
	row("priority", s.Priority)
	row("tags", strings.Join(s.Tags, ", "))
	row("metadata", s.pairs())
	row("attempts", s.attempts())
	if s.Queue != nil {
		row("position", strconv.Itoa(s.Queue.Position))
		row("starts", ago(s.Queue.StartsAt))
	}
	row("created", ago(&s.CreatedAt))
	row("run at", ago(s.RunAt))
	row("started", ago(s.StartedAt))
	row("next try", ago(s.NextAttemptAt))
	row("finished", ago(s.FinishedAt))
	if !s.ended() {
		row("deadline", ago(s.Deadline))
	}
	if s.ResultInfo != nil {
		row("result", fmt.Sprintf("%s: `headrace jobs result %s`", count(int(s.ResultInfo.Bytes), "byte"), s.ID))
	}
	row("kept till", ago(s.ResultExpiresAt))
	_, err := io.WriteString(w, b.String())
	return err
}

// jobTable lists jobs, with times as seen at one moment.
func jobTable(jobs []*shown, at time.Time) *table {
	t := &table{header: []string{"ID", "ROUTE", "STATUS", "PRIORITY", "TRIES", "AGE", "TOOK", "ERROR"}}
	for _, s := range jobs {
		took, why := "", s.why()
		if s.ended() && s.StartedAt != nil {
			took = inWords(s.FinishedAt.Sub(*s.StartedAt))
		}
		if s.Error != nil {
			why = s.Error.Code + ": " + s.Error.Detail
		}
		t.add(cell{text: s.ID}, cell{text: s.Route}, cell{s.Status, statusTint(s.Status)}, cell{text: s.Priority},
			cell{text: fmt.Sprintf("%d/%d", s.Tries, s.Most)}, cell{text: inWords(max(0, at.Sub(s.CreatedAt)))}, cell{text: took},
			cell{text: oneLine(why, 80)})
	}
	return t
}

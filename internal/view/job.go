// Package view shows what a gateway says of jobs, attempts, queues and routes to a person at a terminal: its JSON in, lines and
// tables out. It is pure; what moment "now" is, is an argument.
//
// Begin at Job; each other file has one noun and its table.
package view

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"headrace/internal/terminal"
)

// Job is what a person wants to know of a job.
type Job struct {
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

	// Paused is whether its queue is, as far as is known.
	Paused bool `json:"-"`
}

// Ended reports whether the job has reached its end.
func (s *Job) Ended() bool { return s.FinishedAt != nil }

// ReadJob reads a job as a gateway describes it.
func ReadJob(answer []byte) (*Job, error) {
	s := new(Job)
	if err := json.Unmarshal(answer, s); err != nil {
		return nil, fmt.Errorf("reading a job: %w", err)
	}
	if s.KnowsPaused() {
		s.Paused = *s.Queue.Paused
	}
	return s, nil
}

// Waits reports that a job waits for a slot, and not for a time.
func (s *Job) Waits() bool { return s.Status == "queued" }

// KnowsPaused reports whether the gateway said if the job's queue is paused.
func (s *Job) KnowsPaused() bool { return s.Queue != nil && s.Queue.Paused != nil }

// statusTint is the colour of a status.
func statusTint(status string) terminal.Tint {
	switch status {
	case "succeeded":
		return terminal.Green
	case "failed":
		return terminal.Red
	case "cancelled", "expired", "cancelling", "retrying":
		return terminal.Yellow
	case "running":
		return terminal.Cyan
	default:
		return terminal.Plain
	}
}

// Line is a job on one line, its id first.
func (s *Job) Line(coloured bool) string { //nolint:revive // it is how, not what
	status := s.Status
	if coloured {
		status = terminal.Paint(status, statusTint(s.Status))
	}
	text := fmt.Sprintf("%s  %s  %s", s.ID, s.Route, status)
	if why := s.Why(); why != "" {
		text += " (" + why + ")"
	}
	if s.Tries > 1 {
		text += fmt.Sprintf("  attempt %d of %d", s.Tries, s.Most)
	}
	if s.Ended() {
		text += "  after " + terminal.InWords(s.FinishedAt.Sub(s.CreatedAt))
	}
	if s.Error != nil {
		text += "  " + terminal.OneLine(s.Error.Detail, 500)
	}
	return text
}

// Why says what is behind a status.
func (s *Job) Why() string {
	switch {
	case s.Waits() && s.Paused:
		return fmt.Sprintf("the queue is paused; `headrace queues resume %s` starts it", s.Route)
	case s.Reason != nil:
		return terminal.OneLine(*s.Reason, 200)
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
		return fmt.Sprintf("%s (in %s)", t.UTC().Format(time.DateTime+"Z"), terminal.InWords(t.Sub(at)))
	default:
		return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.DateTime+"Z"), terminal.InWords(at.Sub(*t)))
	}
}

// pairs writes the metadata.
func (s *Job) pairs() string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(s.Metadata)) {
		pairs = append(pairs, key+"="+s.Metadata[key])
	}
	return terminal.OneLine(strings.Join(pairs, ", "), 2000)
}

func (s *Job) attempts() string {
	text := fmt.Sprintf("%d of %d", s.Tries, s.Most)
	if s.Interruptions > 0 {
		text += ", " + terminal.Count(s.Interruptions, "interruption")
	}
	if s.Run > 1 {
		text += fmt.Sprintf(", in run %d", s.Run)
	}
	return text
}

// Details writes a job over several lines, for a person.
func (s *Job) Details(w io.Writer, at time.Time, coloured bool) error { //nolint:revive // it is how, not what
	var b strings.Builder
	row := func(name, text string) {
		if text != "" {
			_, _ = fmt.Fprintf(&b, "%-9s  %s\n", name, text)
		}
	}
	ago := func(t *time.Time) string { return seenFrom(at, t) }
	status := s.Status
	if coloured {
		status = terminal.Paint(status, statusTint(s.Status))
	}
	if why := s.Why(); why != "" {
		status += " (" + why + ")"
	}
	row("id", s.ID)
	row("route", s.Route)
	row("status", status)
	if s.Error != nil {
		row("error", terminal.OneLine(s.Error.Detail, 2000)+" ("+s.Error.Code+")")
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
	if !s.Ended() {
		row("deadline", ago(s.Deadline))
	}
	if s.ResultInfo != nil {
		row("result", fmt.Sprintf("%s: `headrace jobs result %s`", terminal.Count(int(s.ResultInfo.Bytes), "byte"), s.ID))
	}
	row("kept till", ago(s.ResultExpiresAt))
	_, err := io.WriteString(w, b.String())
	return err
}

// JobTable lists jobs, with times as seen at one moment.
func JobTable(jobs []*Job, at time.Time) *terminal.Table {
	t := &terminal.Table{Header: []string{"ID", "ROUTE", "STATUS", "PRIORITY", "TRIES", "AGE", "TOOK", "ERROR"}}
	for _, s := range jobs {
		took, why := "", s.Why()
		if s.Ended() && s.StartedAt != nil {
			took = terminal.InWords(s.FinishedAt.Sub(*s.StartedAt))
		}
		if s.Error != nil {
			why = s.Error.Code + ": " + s.Error.Detail
		}
		t.Add(terminal.Text(s.ID), terminal.Text(s.Route), terminal.Tinted(s.Status, statusTint(s.Status)), terminal.Text(s.Priority),
			terminal.Text(fmt.Sprintf("%d/%d", s.Tries, s.Most)), terminal.Text(terminal.InWords(max(0, at.Sub(s.CreatedAt)))), terminal.Text(took),
			terminal.Text(terminal.OneLine(why, 80)))
	}
	return t
}

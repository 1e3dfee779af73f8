package view

import (
	"strconv"
	"time"

	"headrace/internal/terminal"
)

// Attempt is one call to a model server.
type Attempt struct {
	N         int        `json:"n"`
	Run       int        `json:"run"`
	Worker    string     `json:"worker"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"`
	Outcome   string     `json:"outcome"`
	Error     *struct {
		Detail string `json:"detail"`
		Code   string `json:"code"`
	} `json:"error"`
}

// AttemptTable lists attempts, with times as seen at one moment.
func AttemptTable(attempts []Attempt, at time.Time) *terminal.Table {
	t := &terminal.Table{Header: []string{"RUN", "ATTEMPT", "STARTED", "AGE", "TOOK", "OUTCOME", "WORKER", "ERROR"}}
	for _, a := range attempts {
		took, why := "", ""
		if a.EndedAt != nil {
			took = terminal.InWords(a.EndedAt.Sub(a.StartedAt))
		}
		if a.Error != nil {
			why = a.Error.Code + ": " + a.Error.Detail
		}
		t.Add(terminal.Text(strconv.Itoa(a.Run)), terminal.Text(strconv.Itoa(a.N)), terminal.Text(a.StartedAt.UTC().Format(time.DateTime+"Z")),
			terminal.Text(terminal.InWords(max(0, at.Sub(a.StartedAt)))), terminal.Text(took), terminal.Tinted(a.Outcome, statusTint(a.Outcome)), terminal.Text(a.Worker),
			terminal.Text(terminal.OneLine(why, 80)))
	}
	return t
}

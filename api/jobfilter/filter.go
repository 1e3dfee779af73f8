// Package jobfilter reads the query of a list of jobs: a query in, a job.Filter out. It is pure.
//
// It owns the parameters of lists and what each may say. A query that is wrong in any part is refused as a whole, because a
// filter that is left out would mean more jobs. Begin at Read.
package jobfilter

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/job"
)

const (
	// DefaultPage is how many jobs a page lists when the caller does not say.
	DefaultPage = 20
	// metadataParam is the prefix of parameters that name a key of the metadata.
	metadataParam = "metadata."
)

// Params names the parameters of a list, without some of them.
func Params(without ...string) []string {
	return slices.DeleteFunc([]string{
		"status", "route", "provider", "priority", "tag", metadataParam + "KEY", "error_code", "dead", "created_after",
		"created_before", "finished_after", "finished_before", "limit", "after", "before",
	}, func(name string) bool { return slices.Contains(without, name) })
}

// Query reads a query whole: a part that cannot be read must not be left out, for one filter less means more jobs.
func Query(raw string) (url.Values, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the query cannot be read: %s; write name=value, joined by &, with %%XX for what is special", err)
	}
	return query, nil
}

// Read reads the query of a list that has the parameters known, and those that begin with "metadata.". Every error names its
// parameter. Without a limit the filter has DefaultPage.
func Read(raw string, known []string) (f job.Filter, err error) {
	query, err := Query(raw)
	if err != nil {
		return f, err
	}
	f.Limit = DefaultPage
	for name, values := range query {
		if !slices.Contains(known, name) && !strings.HasPrefix(name, metadataParam) {
			return f, problem.Param(name, "there is no parameter %q; there are %s", problem.Quotable(name), strings.Join(known, ", "))
		}
		if len(values) > 1 && name != "status" && name != "tag" {
			return f, problem.Param(name, "%s is given %d times; give it once", problem.Quotable(name), len(values))
		}
		if slices.Contains(values, "") { // less of a filter would mean more jobs
			return f, problem.Param(name, "%s is empty; leave it out, or give it a value", problem.Quotable(name))
		}
		if err := setFilter(&f, name, values); err != nil {
			return f, err
		}
	}
	if f.After != "" && f.Before != "" {
		return f, problem.Param("before", "after and before exclude each other")
	}
	return f, nil
}

// setFilter reads one parameter.
func setFilter(f *job.Filter, name string, values []string) (err error) {
	value := values[0]
	if key, found := strings.CutPrefix(name, metadataParam); found {
		if f.Metadata == nil {
			f.Metadata = make(map[string]string)
		}
		f.Metadata[key] = value
		return nil
	}
	switch name {
	case "status":
		f.States, err = readStates(values)
	case "dead":
		if value != "true" {
			return problem.Param(name, "dead can only be true: it is short for status=failed")
		}
		f.States = []job.State{job.Failed}
	case "route":
		f.Route = value
	case "provider":
		f.Provider = value
	case "priority":
		f.Priority = job.Priority(value)
		if !slices.Contains(job.Priorities(), f.Priority) {
			return problem.Param(name, "priority must be interactive, standard or batch")
		}
	case "tag":
		f.Tags = values
	case "error_code":
		f.ErrorCode = value
		if !slices.Contains(fault.Codes(), fault.Code(value)) {
			return problem.Param(name, "there is no error_code %q; docs/errors.md lists them", problem.Quotable(value))
		}
	case "created_after":
		f.CreatedAfter, err = readTime(name, value)
	case "created_before":
		f.CreatedBefore, err = readTime(name, value)
	case "finished_after":
		f.FinishedAfter, err = readTime(name, value)
	case "finished_before":
		f.FinishedBefore, err = readTime(name, value)
	case "limit":
		if f.Limit, err = strconv.Atoi(value); err != nil || f.Limit < 1 {
			return problem.Param(name, "limit must be a number from 1 on")
		}
	case "after":
		f.After, err = readCursor(name, value)
	case "before":
		f.Before, err = readCursor(name, value)
	}
	return err
}

// readStates reads a repeated parameter, each with one state or several with commas.
func readStates(values []string) (states []job.State, err error) {
	known := []string{
		string(job.Scheduled), string(job.Queued), string(job.Running), string(job.Retrying), string(job.Cancelling), string(job.Succeeded),
		string(job.Failed), string(job.Cancelled), string(job.Expired),
	}
	for _, value := range values {
		for text := range strings.SplitSeq(value, ",") {
			state := strings.TrimSpace(text)
			if !slices.Contains(known, state) {
				return nil, problem.Param("status", "there is no status %q; there are %s", problem.Quotable(text), strings.Join(known, ", "))
			}
			states = append(states, job.State(state))
		}
	}
	return states, nil
}

// readTime reads an RFC 3339 time or seconds since 1970.
func readTime(name, value string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, value); err == nil {
		return t, nil
	}
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil || !(seconds > 0 && seconds < 1e11) {
		return time.Time{}, problem.Param(name, "%s must be a time as in 2026-01-31T12:00:00Z, or seconds since 1970", name)
	}
	return time.UnixMilli(int64(seconds * 1000)), nil
}

func readCursor(name, value string) (job.ID, error) {
	id, ok := job.ParseID(value)
	if !ok {
		return "", problem.Param(name, "%s must be the id of a job: last_id or first_id of the page before", name)
	}
	return id, nil
}

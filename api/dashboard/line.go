package dashboard

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"headrace/api/jobfilter"
	"headrace/api/problem"
	"headrace/internal/job"
)

const (
	// maxLine bounds a filter line, in bytes.
	maxLine = 500
	// pageRows is how many rows a list shows.
	pageRows = 50
)

// term is one word of a filter line: key:value, or a value alone.
type term struct{ key, value string }

// readLine reads a filter line: words apart by spaces, where "double quotes" keep a value together.
func readLine(line string) ([]term, error) {
	if len(line) > maxLine {
		return nil, problem.Param("q", "the filter is longer than %d bytes; leave some of it out", maxLine)
	}
	var terms []term
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimSpace(rest) {
		var t term
		if at := strings.IndexAny(rest, ": \t\""); at > 0 && rest[at] == ':' {
			t.key, rest = strings.ToLower(rest[:at]), rest[at+1:]
		}
		if quoted, found := strings.CutPrefix(rest, `"`); found {
			value, after, closed := strings.Cut(quoted, `"`)
			if !closed {
				return nil, problem.Param("q", `a quotation mark is open: write tag:"two words"`)
			}
			t.value, rest = value, after
		} else {
			end := strings.IndexAny(rest, " \t")
			if end < 0 {
				end = len(rest)
			}
			t.value, rest = rest[:end], rest[end:]
		}
		if t.value == "" {
			return nil, problem.Param("q", "%q has no value; write %s:value, or leave it out", problem.Quotable(t.key), problem.Quotable(t.key))
		}
		terms = append(terms, t)
	}
	return terms, nil
}

// ago reads a duration that lies back, as 90s, 15m, 2h or 3d.
func ago(t term, now time.Time) (time.Time, error) {
	d, err := time.ParseDuration(t.value)
	if whole, found := strings.CutSuffix(t.value, "d"); found {
		var days float64
		days, err = strconv.ParseFloat(whole, 64)
		d = time.Duration(min(days, 10_000) * 24 * float64(time.Hour))
	}
	if err != nil || d <= 0 {
		return time.Time{}, problem.Param("q", "%s:%s is no time: write %s:90s, 15m, 2h or 3d", t.key, problem.Quotable(t.value), t.key)
	}
	return now.Add(-d), nil
}

// jobFilter reads a filter line for jobs. A word alone is the id of a job, which is returned in its place.
func jobFilter(line string, now time.Time) (f job.Filter, id job.ID, err error) {
	terms, err := readLine(line)
	if err != nil {
		return f, "", err
	}
	query := make(url.Values)
	for _, t := range terms {
		switch t.key {
		case "":
			id, ok := job.ParseID(t.value)
			if !ok || len(terms) > 1 {
				return f, "", problem.Param("q", "%q is not a filter; write route:…, status:…, priority:…, tag:…, code:…, older:1h, newer:1h, or the id of a job alone", problem.Quotable(t.value))
			}
			return f, id, nil
		case "code":
			query.Add("error_code", t.value)
		case "older", "newer":
			at, err := ago(t, now)
			if err != nil {
				return f, "", err
			}
			query.Add(map[string]string{"older": "created_before", "newer": "created_after"}[t.key], at.UTC().Format(time.RFC3339))
		default:
			query.Add(t.key, t.value)
		}
	}
	f, err = jobfilter.Read(query.Encode(), jobfilter.Params("limit", "after", "before"))
	f.Limit = pageRows
	return f, "", err
}

package jobspec

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"headrace/api/problem"
	"headrace/internal/fault"
)

// Preference is what a caller prefers, by RFC 7240: a job at once, or a job and its result if it comes in time.
type Preference struct {
	Async bool          // respond-async
	Wait  time.Duration // as granted; 0 = not at all
	Asked bool          // wait was asked for
	Idle  []string      // preferences that are not ours, as Headrace-Dropped names them
}

// Durable reports whether the caller wants a job.
func (p Preference) Durable() bool { return p.Async || p.Asked }

// Applied is what Preference-Applied says: the preferences that were followed.
func (p Preference) Applied() string {
	var all []string
	if p.Async {
		all = append(all, "respond-async")
	}
	if p.Asked {
		all = append(all, "wait="+strconv.Itoa(int(p.Wait/time.Second)))
	}
	return strings.Join(all, ", ")
}

// PreferenceOf reads Prefer, and grants a wait of at most longest. Preferences that are not ours have no effect and are
// named; of one that is given twice the first counts, as the RFC wants.
func PreferenceOf(h http.Header, longest time.Duration) (Preference, error) {
	var p Preference
	for _, line := range h.Values(HeaderPrefer) {
		for part := range strings.SplitSeq(line, ",") {
			part, _, _ = strings.Cut(part, ";")
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				p.Async = true
			case "wait":
				if p.Asked {
					continue
				}
				n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
				if errors.Is(err, strconv.ErrRange) {
					err = nil // n is the furthest in its direction then
				}
				if err != nil || n < 0 {
					f := fault.New(fault.Invalid, "Prefer: wait takes a whole number of seconds, as in wait=10")
					f.Param = HeaderPrefer
					return p, f
				}
				p.Asked, p.Wait = true, min(time.Duration(min(n, 1<<30))*time.Second, longest)
			case "":
			default:
				p.Idle = append(p.Idle, idlePreference(name))
			}
		}
	}
	return p, nil
}

// idlePreference is how a preference without effect is named.
func idlePreference(name string) string {
	if name = strings.TrimSpace(name); !problem.Sane(name) || len(name) > MaxTag {
		return HeaderPrefer
	}
	return HeaderPrefer + ": " + name
}

// ReadWait reads the wait of a query, a number of seconds, and grants at most longest.
func ReadWait(text string, longest time.Duration) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(strings.TrimSuffix(text, "s"), 64)
	if err != nil || !(seconds >= 0) {
		return 0, problem.Param("wait", "wait must be a number of seconds, as in ?wait=30")
	}
	return min(time.Duration(min(seconds, 1e9)*float64(time.Second)), longest), nil
}

package problem

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"headrace/api/dialect"
	"headrace/internal/fault"
)

// ErrCoding marks a request's body in a content coding that is not read: 415 in every voice.
var ErrCoding = errors.New("unsupported content coding")

// A Voice is the form of error bodies. The path decides it.
type Voice int

const (
	// MLflow is {"detail": …}.
	MLflow Voice = iota
	// OpenAI is {"error": {…}}.
	OpenAI
	// Headrace is RFC 9457: application/problem+json.
	Headrace
)

// VoiceOf gives the voice of a path, known or not.
func VoiceOf(path string) Voice {
	switch {
	case slices.ContainsFunc([]string{"/v1/routes", "/v1/jobs", "/v1/queues", "/v1/dead", "/v1/limits"}, func(base string) bool {
		return path == base || strings.HasPrefix(path, base+"/")
	}):
		return Headrace
	case path == "/v1" || strings.HasPrefix(path, "/v1/"):
		return OpenAI
	}
	return MLflow
}

// Meaning is what an error says over HTTP.
type Meaning struct {
	Status int
	// Again: the same call may succeed later.
	Again bool
	// Vain: repeating cannot help; OpenAI's SDKs, which repeat every 5xx, are told so.
	Vain bool
}

// MeaningOf is what an error says in a voice.
func MeaningOf(v Voice, e *fault.Error) Meaning { return meaningOf(e).said(v, e) }

// meaningOf is the one table from codes to HTTP.
func meaningOf(e *fault.Error) Meaning {
	switch e.Code {
	case fault.Invalid:
		return Meaning{Status: http.StatusBadRequest, Vain: true}
	case fault.NotFound:
		return Meaning{Status: http.StatusNotFound, Vain: true}
	case fault.MethodNotAllowed:
		return Meaning{Status: http.StatusMethodNotAllowed, Vain: true}
	case fault.TooLarge:
		return Meaning{Status: http.StatusRequestEntityTooLarge, Vain: true}
	case fault.RateLimited:
		return Meaning{Status: http.StatusTooManyRequests, Again: true}
	case fault.QueueFull:
		return Meaning{Status: http.StatusServiceUnavailable, Again: true}
	case fault.NoWorkers, fault.UpstreamUnavailable:
		return Meaning{Status: http.StatusServiceUnavailable, Again: true}
	case fault.UpstreamTimeout, fault.Deadline:
		return Meaning{Status: http.StatusGatewayTimeout, Again: true}
	case fault.UpstreamError:
		return upstreamMeaning(e)
	case fault.UpstreamBadResponse:
		return Meaning{Status: http.StatusBadGateway, Vain: true}
	case fault.NotImplemented:
		return Meaning{Status: http.StatusNotImplemented, Vain: true}
	case fault.Conflict:
		return Meaning{Status: http.StatusConflict, Vain: true}
	case fault.KeyReused:
		return Meaning{Status: http.StatusUnprocessableEntity, Vain: true}
	case fault.Gone:
		return Meaning{Status: http.StatusGone, Vain: true}
	case fault.JobFailed:
		return Meaning{Status: http.StatusFailedDependency, Vain: true}
	case fault.Unauthorized:
		return Meaning{Status: http.StatusUnauthorized, Vain: true}
	case fault.ShuttingDown:
		return Meaning{Status: http.StatusServiceUnavailable, Again: true}
	case fault.Internal:
	}
	return Meaning{Status: http.StatusInternalServerError}
}

func upstreamMeaning(e *fault.Error) Meaning {
	status := e.Status
	if e.Repeat != fault.RepeatByStatus && status >= 400 && status <= 599 {
		return Meaning{Status: status, Again: e.Repeat == fault.RepeatHelps, Vain: e.Repeat == fault.RepeatVain}
	}
	if status < 400 || status > 599 {
		return Meaning{Status: http.StatusBadGateway}
	}
	return Meaning{
		Status: status,
		Again:  status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented,
		Vain:   status == http.StatusNotImplemented,
	}
}

// said is a meaning as a voice says it.
func (m Meaning) said(v Voice, e *fault.Error) Meaning {
	if errors.Is(e, ErrCoding) {
		m.Status = http.StatusUnsupportedMediaType
		return m
	}
	switch v {
	case MLflow:
		if e.Code == fault.Invalid && m.Status == http.StatusBadRequest && !errors.Is(e, dialect.ErrUnreadable) {
			m.Status = http.StatusUnprocessableEntity
		}
	case OpenAI:
		return m.saidToOpenAI(e)
	case Headrace:
		if refusesUs(e) && m.Status != http.StatusNotFound && m.Status != http.StatusMethodNotAllowed {
			m.Status = http.StatusBadGateway // 401 would be about the caller's own key
		}
	}
	return m
}

// saidToOpenAI keeps 5xx for what may be better the next time: many libraries around OpenAI's SDKs repeat every 5xx for
// minutes, whatever x-should-retry says. And 401, 403 and 404 are about the caller's key and model; those of a model
// server are its operator's to mend.
func (m Meaning) saidToOpenAI(e *fault.Error) Meaning {
	switch {
	case e.Raised: // the servers of MLflow say 400, which is about the caller; to ask again runs the model again
		m.Status, m.Vain = http.StatusInternalServerError, true
	case e.Code == fault.NotImplemented:
		m.Status = http.StatusBadRequest
	case refusesUs(e):
		m.Status, m.Vain = http.StatusUnprocessableEntity, true
	case m.Vain && m.Status >= 500:
		m.Status = http.StatusUnprocessableEntity
	}
	return m
}

// refusesUs tells a model server that does not take Headrace's address or credentials.
func refusesUs(e *fault.Error) bool {
	return e.Code == fault.UpstreamError && slices.Contains([]int{
		http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
	}, e.Status)
}

package native

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"headrace/internal/splice"
)

// unexpected begins the message of a 400 that is no fault of the caller's: the model raised an exception.
const unexpected = "Encountered an unexpected error while evaluating the model"

// Refusal is what a 400 of a model server means.
type Refusal struct {
	Raised bool   // the model raised an exception; else what it was asked does not fit its signature
	Why    string // the exception, or what does not fit, in one line and without the caller's input
	Param  string // the member that does not fit, where that is told
}

// Means reads the body of a 400. It says no to one that is not of MLflow's form.
func Means(body []byte) (Refusal, bool) {
	var said struct {
		Code    string          `json:"error_code"`
		Message string          `json:"message"`
		Trace   string          `json:"stack_trace"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &said) != nil {
		return Refusal{}, false
	}
	if detail := splice.TextOf(said.Detail); said.Code == "" && detail != "" {
		return Refusal{Why: firstLines(detail), Param: pydanticParam(detail)}, true
	}
	if said.Code == "" || said.Message == "" {
		return Refusal{}, false
	}
	if strings.HasPrefix(said.Message, unexpected) {
		why := lastLine(said.Trace)
		if why == "" {
			why = said.Message
		}
		return Refusal{Raised: true, Why: why}, true
	}
	why := said.Message
	if at := strings.LastIndex(why, "Error: "); at >= 0 {
		why = why[at+len("Error: "):]
	} else if end := strings.LastIndex(why, "}'. "); end >= 0 { // after the schema
		why = why[end+len("}'. "):]
	}
	why, _, _ = strings.Cut(why, "\nInput:") // what follows is the caller's
	return Refusal{Why: shortened(strings.Join(strings.Fields(why), " ")), Param: paramOf(why)}, true
}

// lastLine is the exception at the end of a traceback. Those of pydantic have several lines, which end in an address.
func lastLine(trace string) string {
	lines := strings.Split(strings.TrimSpace(trace), "\n")
	for i, line := range slices.Backward(lines) {
		if line == "" || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") || strings.HasPrefix(line, "Traceback") {
			continue
		}
		name, _, _ := strings.Cut(line, ":")
		if i < len(lines)-1 && !strings.ContainsAny(name, " ") || i == len(lines)-1 {
			return shortened(strings.Join(strings.Fields(strings.Join(withoutAddresses(lines[i:]), " ")), " "))
		}
	}
	return ""
}

func withoutAddresses(lines []string) []string {
	var kept []string
	for _, line := range lines {
		if !strings.Contains(line, "For further information visit") {
			kept = append(kept, line)
		}
	}
	return kept
}

// firstLines is a text of pydantic's in one line.
func firstLines(detail string) string {
	return shortened(strings.Join(strings.Fields(strings.Join(withoutAddresses(strings.Split(detail, "\n")), " ")), " "))
}

// shortened is a text that a message can hold.
func shortened(s string) string {
	const most = 500
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// paramOf finds the member that a sentence of MLflow's names.
func paramOf(why string) string {
	for _, pattern := range []string{
		"for key `([^`]+)`", `for column ([A-Za-z0-9_.]+)\.`, `Missing required properties: \{'([^']+)'`,
		`not defined in the schema found: \{'([^']+)'`, `missing inputs \['([^']+)'`, `extra inputs: \['([^']+)'`,
	} {
		if found := regexp.MustCompile(pattern).FindStringSubmatch(why); found != nil {
			return found[1]
		}
	}
	return ""
}

// pydanticParam is the place that a text of pydantic's names: its second line.
func pydanticParam(detail string) string {
	lines := strings.Split(detail, "\n")
	if len(lines) < 3 || strings.ContainsAny(lines[1], " \t") {
		return ""
	}
	return lines[1]
}

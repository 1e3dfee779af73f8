package openapi

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// response is one as the document has it.
type response map[string]any

// place is where a response stands: the responses of one operation, and the status.
type place struct {
	in     map[string]response
	status string
}

// same is a response with all places that have it.
type same struct {
	response response
	at       []place
}

// failures gives the different responses of operations with statuses from 400 on, by status.
func failures(paths map[string]map[string]operation) map[string][]*same {
	found := make(map[string][]*same)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		for _, method := range slices.Sorted(maps.Keys(paths[path])) {
			answers, _ := paths[path][method]["responses"].(map[string]response)
			for status, r := range answers {
				if status < "4" {
					continue
				}
				i := slices.IndexFunc(found[status], func(s *same) bool { return reflect.DeepEqual(s.response, r) })
				if i < 0 {
					i, found[status] = len(found[status]), append(found[status], &same{response: r})
				}
				found[status][i].at = append(found[status][i].at, place{answers, status})
			}
		}
	}
	return found
}

// share moves each failure that more than one operation has to the shared responses, which it gives by name, and refers to it.
func share(paths map[string]map[string]operation) map[string]response {
	shared := make(map[string]response)
	for status, all := range failures(paths) {
		n := 0
		for _, s := range all {
			if len(s.at) == 1 {
				continue
			}
			n++
			name := fmt.Sprintf("%s-%d", status, n)
			shared[name] = s.response
			for _, at := range s.at {
				at.in[at.status] = response{"$ref": "#/components/responses/" + name}
			}
		}
	}
	return shared
}

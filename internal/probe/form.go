package probe

import (
	"context"
	"fmt"
	"slices"
	"time"

	"headrace/internal/inference"
	"headrace/internal/provider/mlflow"
	"headrace/internal/provider/mlflow/native"
	"headrace/internal/upstream"
)

// recognised is the format that a model server named when it was asked with inputs, "" for none. One that has refused
// every form without naming another has a signature; its refusal of a probe shows it, and the model does not run.
func recognised(ctx context.Context, client *upstream.Client, answers ...answer) string {
	refused := true
	for _, a := range answers {
		if a.wanted != "" && a.wanted != string(native.Inputs) {
			return a.wanted
		}
		refused = refused && a.refused
	}
	if !refused {
		return ""
	}
	p := mlflow.New()
	for _, call := range p.Probe() {
		ctx, cancel := context.WithTimeout(ctx, probePatience)
		reply, release, err := client.Do(ctx, call, probeReply)
		cancel()
		if err != nil {
			return ""
		}
		wanted, _ := p.Wanted(reply)
		release()
		if wanted != "" && wanted != string(native.Inputs) {
			return wanted
		}
	}
	return ""
}

// nativeVerdict judges a model server that is asked in a format of its own.
func nativeVerdict(r *inference.Route, found Result, took time.Duration) Result {
	found.Latency = float64(took.Microseconds()) / 1000
	form := native.Form(found.Format)
	for _, kind := range inference.Types() {
		if form.Fits(kind) {
			found.Serves = append(found.Serves, kind)
		}
	}
	found.Serves = append(found.Serves, inference.Raw)
	found.Fits = slices.Contains(found.Serves, r.Type) && (r.Type == inference.Raw || mlflow.New().Fits(r, found.Format))
	key := "route_type"
	if r.Family == inference.Endpoints {
		key = "endpoint_type"
	}
	switch {
	case found.Fits:
		found.Message = "good; it is asked in the format " + found.Format
	case !slices.Contains(found.Serves, r.Type):
		found.Message = fmt.Sprintf("it wants the format %s; write %s = %q", found.Format, key, found.Serves[0])
	default:
		found.Message = fmt.Sprintf("it wants the format %s, and the route says format = %q; leave format out", found.Format, string(r.Format))
	}
	return found
}

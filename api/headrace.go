package api

import (
	"math"
	"net/http"

	"headrace/api/dialect"
	"headrace/api/problem"
	"headrace/internal/fault"
	"headrace/internal/inference"
)

// routeView is a route as GET /v1/routes shows it.
type routeView struct {
	Name        string           `json:"name"`
	Type        inference.Type   `json:"type"`
	Family      inference.Family `json:"family"`
	Description string           `json:"description,omitempty"`
	Provider    string           `json:"provider"`
	Format      inference.Format `json:"format,omitempty"` // as configured
	Model       *string          `json:"model"`
	Invoke      string           `json:"invocations_url"`
	Limit       *limitView       `json:"limit"`
	Workers     int              `json:"workers"`
	Slots       int              `json:"slots"`
	Waiting     int              `json:"waiting"`
	Paused      bool             `json:"paused"` // its jobs are not started; calls are
	Replicas    []replicaView    `json:"replicas"`
	Batching    []batchingView   `json:"batching"` // of each worker that tells
}

// batchingView is what one worker has learned of sharing calls.
type batchingView struct {
	Mode      inference.BatchMode `json:"mode"`
	Stage     string              `json:"stage"`
	Reason    string              `json:"reason,omitempty"`
	Size      int                 `json:"size"`
	Pays      *bool               `json:"pays,omitempty"`
	CallMS    float64             `json:"call_ms"`
	ItemMS    float64             `json:"item_ms"`
	Calls     uint64              `json:"calls"`
	Requests  uint64              `json:"requests"`
	Items     uint64              `json:"items"`
	Isolating uint64              `json:"isolating"`
}

type limitView struct {
	Calls  int    `json:"calls"`
	Period string `json:"renewal_period"`
}

type replicaView struct {
	URL      string `json:"url"`
	State    string `json:"state"`
	Busy     int    `json:"busy"`
	Failures int    `json:"failures"`
	Format   string `json:"format,omitempty"` // in which it is asked, once that is known
}

// catalogue shows the routes, to MLflow's clients, to OpenAI's and to ours.
type catalogue struct {
	*chassis

	jobs Jobs // nil: there are none
}

func (t *catalogue) view(r *inference.Route) routeView {
	state := t.broker.State(r.Name)
	v := routeView{
		Name: r.Name, Type: r.Type, Family: r.Family, Description: r.Description, Provider: r.Provider, Format: r.Format,
		Invoke:  "/v1/routes/" + r.Name + "/invocations",
		Workers: state.Workers, Slots: state.Slots, Waiting: state.Waiting,
		Paused:   t.jobs != nil && t.jobs.Paused(r.Name),
		Replicas: make([]replicaView, 0, len(r.Servers)), Batching: make([]batchingView, 0, len(state.Batching)),
	}
	for _, b := range state.Batching {
		v.Batching = append(v.Batching, batchingView{
			Mode: b.Mode, Stage: b.Stage, Reason: b.Reason, Size: b.Size, Pays: b.Pays, CallMS: hundredths(b.CallMS), ItemMS: hundredths(b.ItemMS),
			Calls: b.Calls, Requests: b.Requests, Items: b.Items, Isolating: b.Isolating,
		})
	}
	if r.Model != "" {
		v.Model = new(r.Model)
	}
	if r.Limit != nil {
		v.Limit = &limitView{Calls: r.Limit.Calls, Period: r.Limit.Period}
	}
	if len(state.Replicas) == 0 {
		for _, server := range r.Servers {
			v.Replicas = append(v.Replicas, replicaView{URL: inference.PublicAddress(server), State: "unknown"})
		}
	}
	for _, replica := range state.Replicas {
		v.Replicas = append(v.Replicas, replicaView{
			URL: inference.PublicAddress(replica.URL), State: replica.State, Busy: replica.Busy, Failures: replica.Failures, Format: replica.Format,
		})
	}
	return v
}

// hundredths rounds what is measured.
func hundredths(x float64) float64 { return math.Round(100*x) / 100 }

// listViews answers GET /v1/routes.
func (t *catalogue) listViews(w *replyWriter, _ *http.Request, _ string) error {
	table := t.table.Load()
	views := make([]routeView, 0, table.Len())
	for route := range table.All() {
		views = append(views, t.view(route))
	}
	writeJSON(w, http.StatusOK, struct {
		Routes []routeView `json:"routes"`
	}{views})
	return nil
}

// getView answers GET /v1/routes/{name}.
func (t *catalogue) getView(w *replyWriter, _ *http.Request, name string) error {
	route := t.table.Load().Route(name)
	if route == nil {
		return problem.Absent("route", name)
	}
	writeJSON(w, http.StatusOK, t.view(route))
	return nil
}

// modelView is a route as GET /v1/models shows it.
type modelView struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// viewModel shows when this front end read the route in as its creation: MLflow tells no other.
func (t *catalogue) viewModel(r *inference.Route) modelView {
	return modelView{ID: r.Name, Object: "model", Created: t.applied.Load(), OwnedBy: r.Provider}
}

// listModels answers GET /v1/models: every route that a path of OpenAI's can reach.
func (t *catalogue) listModels(w *replyWriter, _ *http.Request, _ string) error {
	models := []modelView{}
	table := t.table.Load()
	for route := range table.All() {
		if route.Type != inference.Raw {
			models = append(models, t.viewModel(route))
		}
	}
	for split := range table.Splits() {
		models = append(models, t.viewSplit(table, split))
	}
	writeJSON(w, http.StatusOK, struct {
		Object string      `json:"object"`
		Data   []modelView `json:"data"`
	}{"list", models})
	return nil
}

// getModel answers GET /v1/models/{model}.
func (t *catalogue) getModel(w *replyWriter, _ *http.Request, name string) error {
	table := t.table.Load()
	if split := table.Split(name); split != nil {
		writeJSON(w, http.StatusOK, t.viewSplit(table, split))
		return nil
	}
	route := table.Route(name)
	if route == nil || route.Type == inference.Raw {
		return problem.NoModel(problem.Valid(name))
	}
	writeJSON(w, http.StatusOK, t.viewModel(route))
	return nil
}

// health answers GET /health as MLflow does: the process lives.
func (s *Server) health(w *replyWriter, _ *http.Request, _ string) error {
	writeBytes(w, http.StatusOK, "application/json", []byte(`{"status":"OK"}`))
	return nil
}

// ready answers GET /readyz: the broker is connected, calls are let in and jobs can be accepted, whatever the workers do.
func (s *Server) ready(w *replyWriter, _ *http.Request, _ string) error {
	if s.gate.isShut() {
		return errShutdown()
	}
	if err := s.broker.Ready(); err != nil {
		return fault.Wrap(fault.NoWorkers, err, "this front end is not ready: %v", err)
	}
	writeBytes(w, http.StatusOK, "application/json", []byte(`{"status":"ready"}`))
	return nil
}

// list answers GET /api/2.0/gateway/routes/ and GET /api/2.0/endpoints/.
func (t *catalogue) list(l dialect.Listing) handler {
	return func(w *replyWriter, r *http.Request, _ string) error {
		from, err := dialect.PageStart(r.URL.RawQuery)
		if err != nil {
			return err
		}
		var out dialect.Output
		l.Page(&out, t.table.Load(), from)
		return writeOutput(w, &out)
	}
}

// get answers for one entry.
func (t *catalogue) get(l dialect.Listing) handler {
	return func(w *replyWriter, _ *http.Request, name string) error {
		route := t.table.Load().Route(name)
		if route == nil {
			return problem.Absent(l.Word, name)
		}
		var out dialect.Output
		l.Entry(&out, route)
		return writeOutput(w, &out)
	}
}

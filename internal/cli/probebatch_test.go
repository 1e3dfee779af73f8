package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"headrace/internal/apptest"
	"headrace/internal/mlflowtest"
)

// costly answers texts with their lengths after a time that does not depend on how many there are. Where
// rows depend on each other, each answer says how many there were.
func costly(call time.Duration, dependent bool) func(mlflowtest.Request) mlflowtest.Reply {
	return func(r mlflowtest.Request) mlflowtest.Reply {
		var asked struct{ Inputs []string }
		if err := json.Unmarshal(r.Body, &asked); err != nil || len(asked.Inputs) == 0 {
			return mlflowtest.Failure(http.StatusBadRequest, "BAD_REQUEST", "no inputs")
		}
		<-time.After(call) // what it costs to compute
		vectors := make([][]float64, len(asked.Inputs))
		for i, text := range asked.Inputs {
			vectors[i] = []float64{float64(len(text)) / 3, 0.5}
			if dependent {
				vectors[i][1] = 0.5 * float64(len(asked.Inputs))
			}
		}
		body, err := json.Marshal(map[string]any{"predictions": vectors})
		if err != nil {
			return mlflowtest.Failure(http.StatusInternalServerError, "INTERNAL_ERROR", err.Error())
		}
		return mlflowtest.JSON(string(body))
	}
}

// check --probe --batch says how much faster a model server answers many rows in one call, or why calls are not shared.
func TestProbeMeasuresSizes(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		kind, keys string
		answer     func(mlflowtest.Request) mlflowtest.Reply
		sizes      int
		says       string
	}{
		"it pays":            {"llm/v1/embeddings", "", costly(10*time.Millisecond, false), 7, "sharing calls gives up to"},
		"it pays and is off": {"llm/v1/embeddings", "[endpoints.batch]\nmode = \"off\"", costly(10*time.Millisecond, false), 7, `write [routes.batch] mode = "auto"`},
		"up to its limit":    {"llm/v1/embeddings", "[endpoints.batch]\nmax_items = 4", costly(10*time.Millisecond, false), 3, "sharing calls gives up to"},
		"rows are not alone": {"llm/v1/embeddings", "", costly(0, true), 0, "answered in another way when it is alone (element 1"},
		"one answer for all": {"llm/v1/completions", "", func(mlflowtest.Request) mlflowtest.Reply { return mlflowtest.Predictions(`["x"]`) }, 0, "calls cannot be shared"},
		"chat":               {"llm/v1/chat", "", func(mlflowtest.Request) mlflowtest.Reply { return mlflowtest.Predictions(`["x"]`) }, 0, "never shared"},
		"rows of any kind":   {"mlflow/v1/invocations", "", costly(0, false), 0, "its rows look like"},
		"it does not fit":    {"llm/v1/completions", "", costly(0, false), 0, "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mlflowtest.New(t)
			s.Handle(test.answer)
			path := apptest.Write(t, "gateway.toml", fmt.Sprintf("[[endpoints]]\nname = \"r\"\nendpoint_type = %q\n[endpoints.model]\n"+
				"provider = \"mlflow-model-serving\"\nname = \"m\"\n[endpoints.model.config]\nmodel_server_url = %q\n%s\n", test.kind, s.URL, test.keys))
			_, out, errs := run(t.Context(), "check", "--config", path, "--probe", "--batch", "--json")
			var report struct {
				Batching []struct {
					Route, Message string
					Sizes          []struct {
						Items int
						Gain  float64
					}
				}
			}
			if err := json.Unmarshal([]byte(out), &report); err != nil || len(report.Batching) != 1 {
				t.Fatalf("%v\n%s%s", err, out, errs)
			}
			b := report.Batching[0]
			if b.Route != "r" || len(b.Sizes) != test.sizes || !strings.Contains(b.Message, test.says) {
				t.Errorf("got %+v, want %d sizes and %q", b, test.sizes, test.says)
			}
			if _, out, _ = run(t.Context(), "check", "--config", path, "--probe", "--batch"); !strings.Contains(out, test.says) || strings.Contains(out, "ROWS A CALL") != (test.sizes > 0) {
				t.Errorf("the text is\n%s", out)
			}
		})
	}
}

// Sizes are measured where servers are asked at all.
func TestSizesWantAProbe(t *testing.T) {
	t.Parallel()
	if code, _, errs := run(t.Context(), "check", "--batch"); code != 2 || !strings.Contains(errs, "add --probe") {
		t.Errorf("%d %s", code, errs)
	}
}

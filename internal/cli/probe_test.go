package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"headrace/internal/apptest"
	"headrace/internal/mlflowtest"
)

// refusing answers as a model server whose signature is not met.
func refusing(message string) func(mlflowtest.Request) mlflowtest.Reply {
	return func(mlflowtest.Request) mlflowtest.Reply {
		return mlflowtest.Failure(http.StatusBadRequest, "INVALID_PARAMETER_VALUE", message)
	}
}

// check --probe says of each model server whether it fits, and what to write when it does not.
func TestProbe(t *testing.T) {
	t.Parallel()
	reply := func(body string) func(mlflowtest.Request) mlflowtest.Reply {
		return func(mlflowtest.Request) mlflowtest.Reply { return mlflowtest.JSON(body) }
	}
	for name, test := range map[string]struct {
		kind   string
		answer func(mlflowtest.Request) mlflowtest.Reply // nil: the port is closed
		fits   bool
		says   string
	}{
		"vectors":          {"llm/v1/embeddings", mlflowtest.Embeddings(4), true, "good"},
		"texts":            {"llm/v1/completions", reply(`{"predictions": ["capital"]}`), true, "good"},
		"chat":             {"llm/v1/chat", reply(`{"predictions": ["capital"]}`), true, "good"},
		"anything":         {"mlflow/v1/invocations", reply(`{"predictions": [{"a": 1}]}`), true, "good"},
		"texts as vectors": {"llm/v1/embeddings", reply(`{"predictions": ["capital"]}`), false, `endpoint_type = "llm/v1/completions" or endpoint_type = "llm/v1/chat"`},
		"vectors as texts": {"llm/v1/completions", mlflowtest.Embeddings(4), false, `endpoint_type = "llm/v1/embeddings"`},
		"wrapped vectors":  {"llm/v1/embeddings", reply(`{"predictions": [{"embedding": [0.1, 0.2]}]}`), false, `field = "embedding"`},
		"wrapped texts":    {"llm/v1/chat", reply(`{"predictions": [{"generated_text": "capital", "score": 1}]}`), false, `field = "generated_text"`},
		"numbers":          {"llm/v1/completions", reply(`{"predictions": [1, 2]}`), false, "a completions or chat route accepts"},
		"a page": {"mlflow/v1/invocations", func(mlflowtest.Request) mlflowtest.Reply {
			return mlflowtest.Reply{Status: 200, ContentType: "text/html", Body: []byte("<h1>It works</h1>")}
		}, false, "is model_server_url an MLflow model server?"},
		"a page for vectors": {"llm/v1/embeddings", func(mlflowtest.Request) mlflowtest.Reply {
			return mlflowtest.Reply{Status: 200, ContentType: "text/html", Body: []byte("<h1>It works</h1>")}
		}, false, "is model_server_url an MLflow model server?"},
		"a table": {"llm/v1/embeddings", reply(`{"predictions": [{"a": 1}]}`), false, `endpoint_type = "mlflow/v1/invocations"`},
		"a ChatModel": {"llm/v1/chat", refusing("Invalid input. Failed to enforce schema of 'x' with type '{content: string (optional), role: string (required)}'. " +
			"Expected data to be dictionary, got str"), true, "good; it is asked in the format chat"},
		"a ChatModel for vectors": {"llm/v1/embeddings", refusing("Invalid input. Failed to enforce schema of 'x' with type '{content: string (optional), role: string (required)}'. " +
			"Expected data to be dictionary, got str"), false, `it wants the format chat; write endpoint_type = "llm/v1/chat"`},
		"a refusal that shows nothing": {"llm/v1/chat", refusing("Failed to predict data 'x'. \nError: Schema details are not shown."), false, "llm/v1/chat needs"},
		"away":                         {"llm/v1/embeddings", nil, false, "refused"},
		"no model server": {"llm/v1/embeddings", func(mlflowtest.Request) mlflowtest.Reply {
			return mlflowtest.Reply{Status: 404, Body: []byte("nothing")}
		}, false, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := "http://" + apptest.FreeAddr(t)
			if test.answer != nil {
				s := mlflowtest.New(t)
				s.Handle(test.answer)
				url = s.URL
			}
			path := apptest.Write(t, "gateway.toml", fmt.Sprintf("[[endpoints]]\nname = \"r\"\nendpoint_type = %q\n[endpoints.model]\n"+
				"provider = \"mlflow-model-serving\"\nname = \"m\"\n[endpoints.model.config]\nmodel_server_url = %q\n", test.kind, url))
			want := 1
			if test.fits {
				want = 0
			}
			code, out, errs := run(t.Context(), "check", "--config", path, "--probe")
			if code != want || !strings.Contains(out, test.says) {
				t.Errorf("%d\n%s%s", code, out, errs)
			}
			code, out, _ = run(t.Context(), "check", "--config", path, "--probe", "--json")
			var report struct {
				Servers []struct {
					Route string `json:"route"`
					Fits  bool   `json:"fits"`
				} `json:"servers"`
			}
			if err := json.Unmarshal([]byte(out), &report); err != nil || code != want || len(report.Servers) != 1 || report.Servers[0].Fits != test.fits {
				t.Errorf("%d\n%s", code, out)
			}
		})
	}
}

// What something else than a model server says of its version is not shown.
func TestProbeOfAPage(t *testing.T) {
	t.Parallel()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<p>Welcome\nto nginx") }))
	defer page.Close()
	path := apptest.Write(t, "gateway.toml", fmt.Sprintf("[[routes]]\nname = \"r\"\nroute_type = \"llm/v1/embeddings\"\n[routes.model]\n"+
		"provider = \"mlflow-model-serving\"\n[routes.model.config]\nmodel_server_url = %q\n", page.URL))
	code, out, _ := run(t.Context(), "check", "--config", path, "--probe", "--json")
	var report struct {
		Servers []struct{ Version, Message string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || len(report.Servers) != 1 ||
		report.Servers[0].Version != "" || !strings.Contains(report.Servers[0].Message, "Welcome") {
		t.Errorf("%d\n%s", code, out)
	}
}

// The headers of a model server stay with it: a redirect is not followed.
func TestProbeFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	elsewhere := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { elsewhere <- r.Header.Get("X-Key") }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	path := apptest.Write(t, "gateway.toml", fmt.Sprintf("[[routes]]\nname = \"r\"\nroute_type = \"llm/v1/embeddings\"\n[routes.model]\n"+
		"provider = \"mlflow-model-serving\"\n[routes.model.config]\nmodel_server_url = %q\nheaders = {X-Key = \"secret\"}\n", server.URL))
	if code, out, errs := run(t.Context(), "check", "--config", path, "--probe"); code != 1 || len(elsewhere) > 0 {
		t.Errorf("%d, %d requests elsewhere\n%s%s", code, len(elsewhere), out, errs)
	}
}

// The version is asked for below the address, whose path and query stay.
func TestProbeVersion(t *testing.T) {
	t.Parallel()
	server := http.NewServeMux()
	server.HandleFunc("GET /team/m/version", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "key=1" {
			_, _ = io.WriteString(w, "3.17.2\n")
		}
	})
	server.HandleFunc("POST /team/m/invocations", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"predictions": [[0.5]]}`)
	})
	model := httptest.NewServer(server)
	defer model.Close()
	path := apptest.Write(t, "gateway.toml", fmt.Sprintf("[[routes]]\nname = \"r\"\nroute_type = \"llm/v1/embeddings\"\n[routes.model]\n"+
		"provider = \"mlflow-model-serving\"\n[routes.model.config]\nmodel_server_url = %q\n", model.URL+"/team/m/?key=1"))
	code, out, errs := run(t.Context(), "check", "--config", path, "--probe")
	if code != 0 || !strings.Contains(out, " 3.17.2 ") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
}

package config

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"headrace/internal/inference"
)

// Defaults of routes to vendors, whose models wait rather than compute here, and write long answers.
const (
	vendorTimeout        = 5 * time.Minute
	vendorMargin         = 5 * time.Second // what a synchronous call has beyond its call to the vendor
	vendorConnectTimeout = 5 * time.Second
	vendorSlots          = 64
	vendorMaxTokens      = 8192 // as MLflow 3 has it

	openAIBase    = "https://api.openai.com/v1"
	anthropicBase = "https://api.anthropic.com/v1"

	// anthropicVersion is the version of Anthropic's API that MLflow asks for. A newer one knows no temperature.
	anthropicVersion = "2023-06-01"
	anthropicNewer   = "2026-10-21"
)

// vendorDefaults sets what a route to a vendor has otherwise than one to a model server, and refuses what has no effect there.
func vendorDefaults(t *table, r *inference.Route, c *Config) {
	if _, given := t.values["timeout"]; !given {
		r.Timeout = max(r.Timeout, vendorTimeout)
	}
	if _, given := t.values["sync_timeout"]; !given {
		r.SyncTimeout = max(r.SyncTimeout, r.Timeout+vendorMargin)
	}
	r.ConnectTimeout = max(r.ConnectTimeout, vendorConnectTimeout)
	if _, given := t.values["slots"]; !given && c.Worker.Slots == 0 {
		r.Slots = vendorSlots
	}
	r.LearnSlots = false
	r.Batch = inference.Batch{Mode: inference.BatchOff}
	for _, key := range []string{"format", "output", "chat_template", "tokens", "nan", "batch"} {
		if _, there := t.values[key]; there {
			t.complain(key, "leave it out", "has no effect with the provider %s, whose models take and give what callers write", r.Provider)
		}
	}
	if r.Type == inference.Raw {
		t.complain(typeKey(r.Family), "use llm/v1/chat, llm/v1/completions or llm/v1/embeddings", "the provider %s has no route of the type %s", r.Provider, r.Type)
	}
}

func typeKey(family inference.Family) string {
	if family == inference.Endpoints {
		return "endpoint_type"
	}
	return "route_type"
}

// readOpenAI reads how a model of OpenAI's, of Azure's, or of a server that speaks like OpenAI's is asked.
func readOpenAI(model, t *table, r *inference.Route) {
	v := &inference.Vendor{
		API:          inference.OpenAIAPI,
		Version:      t.text("openai_api_version", ""),
		Deployment:   t.text("openai_deployment_name", ""),
		Organization: t.text("openai_organization", ""),
	}
	r.Vendor = v
	kind := strings.ToLower(t.text("openai_api_type", "openai"))
	switch kind {
	case "openai":
	case string(inference.AzureKey), string(inference.AzureToken):
		v.Azure = inference.AzureAuth(kind)
	default:
		t.complain("openai_api_type", oneOf(kind, []string{"openai", "azure", "azuread"}), "%q is not a type of OpenAI's API", kind)
	}
	_, based := t.values["openai_api_base"]
	r.Servers = []string{openAIBase}
	if based || v.Azure != "" {
		r.Servers = readServers(t, "openai_api_base", `"`+openAIBase+`"`)
	} else {
		t.known = append(t.known, "openai_api_base")
	}
	// A server of one's own often wants no key.
	v.Key = t.apiKey("openai_api_key", "OPENAI_API_KEY", !based || v.Azure != "", r)
	switch by := t.text("openai_completions", ""); by {
	case "":
		v.CompletionsByChat = r.Family == inference.Routes // as MLflow 2.8 asked
	case "chat", "completions":
		v.CompletionsByChat = by == "chat"
	default:
		t.complain("openai_completions", oneOf(by, []string{"chat", "completions"}), "%q is not known", by)
	}
	checkAzure(t, v, r.Servers)
	if r.Model == "" && v.Deployment == "" {
		model.complain("name", `for example name = "gpt-4o-mini"`, "the name of the model is required: OpenAI's API is asked for a model")
	}
}

// checkAzure checks what belongs to Azure and what does not. Azure's newer addresses end in /openai/v1 and want no deployment.
func checkAzure(t *table, v *inference.Vendor, servers []string) {
	if v.Azure == "" {
		if _, given := t.values["openai_deployment_name"]; given {
			t.complain("openai_deployment_name", `leave it out, or set openai_api_type = "azure"`, "only Azure has deployments")
		}
		return
	}
	if _, given := t.values["openai_organization"]; given {
		t.complain("openai_organization", "leave it out", "Azure has no organizations")
	}
	newer := len(servers) > 0
	for _, s := range servers {
		u, err := url.Parse(s)
		newer = newer && err == nil && strings.HasSuffix(strings.TrimRight(u.Path, "/"), "/openai/v1")
	}
	if newer {
		return
	}
	for name, value := range map[string]string{"openai_deployment_name": v.Deployment, "openai_api_version": v.Version} {
		if value == "" {
			t.complain(name, "it is required with an openai_api_base that does not end in /openai/v1", "Azure is asked for a deployment in a version of its API")
		}
	}
}

// readAnthropic reads how a model of Anthropic's is asked.
func readAnthropic(model, t *table, r *inference.Route) {
	v := &inference.Vendor{
		API:       inference.AnthropicAPI,
		Version:   t.text("anthropic_version", anthropicVersion),
		MaxTokens: t.count("max_tokens", vendorMaxTokens, 1),
	}
	r.Vendor = v
	r.Servers = []string{anthropicBase}
	_, based := t.values["anthropic_api_base"]
	if based {
		r.Servers = readServers(t, "anthropic_api_base", `"`+anthropicBase+`"`)
	} else {
		t.known = append(t.known, "anthropic_api_base")
	}
	v.Key = t.apiKey("anthropic_api_key", "ANTHROPIC_API_KEY", !based, r)
	if v.Version == "" || strings.ContainsAny(v.Version, "\r\n\x00") {
		t.complain("anthropic_version", `for example "`+anthropicVersion+`"`, "it must be a version of Anthropic's API")
	}
	fallback := inference.SamplingPass
	if v.Version >= anthropicNewer && v.Version[:1] == "2" {
		fallback = inference.SamplingDrop
	}
	v.Sampling = inference.Sampling(t.text("sampling", string(fallback)))
	ways := []string{string(inference.SamplingPass), string(inference.SamplingDrop), string(inference.SamplingRefuse)}
	if !slices.Contains(ways, string(v.Sampling)) {
		t.complain("sampling", oneOf(string(v.Sampling), ways), "%q is not known", string(v.Sampling))
	}
	if r.Model == "" {
		model.complain("name", `for example name = "claude-sonnet-4-5"`, "the name of the model is required: Anthropic's API is asked for a model")
	}
	if r.Type == inference.Embeddings {
		model.complain("provider", "name another provider", "Anthropic has no embeddings")
	}
}

// missingKey is a credential that this process cannot read.
type missingKey struct {
	route   string
	problem Problem
}

// apiKey reads a credential, which never stands in the file itself. What keeps this process from reading it is kept for
// Config.Keys, for only workers need it.
func (t *table) apiKey(name, variable string, required bool, r *inference.Route) inference.Secret {
	s := t.text(name, "")
	fix := fmt.Sprintf(`write %s = "env:%s", or "file:PATH" with the path of a file that holds it`, name, variable)
	var key, problem string
	env, isEnv := strings.CutPrefix(s, "env:")
	path, isFile := strings.CutPrefix(s, "file:")
	switch {
	case s == "" && !required:
		return ""
	case s == "":
		t.complain(name, fix, "a key is required")
		return ""
	case isEnv:
		if key = strings.TrimSpace(os.Getenv(env)); key == "" {
			problem = fmt.Sprintf("the environment variable %q is not set", env)
		}
	case isFile:
		used, text, err := useFile(path)
		t.doc.used = append(t.doc.used, used)
		switch key = strings.TrimSpace(string(text)); {
		case err != nil && (len(path) > maxPath || strings.ContainsAny(path, "\r\n")):
			problem = "this is not the name of a file"
		case err != nil:
			problem = err.Error()
		case key == "":
			problem = fmt.Sprintf("the file %q is empty", path)
		}
	default:
		t.complain(name, fix, "the key itself does not belong in this file, which more people read than may use the key")
		return ""
	}
	if problem == "" && strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		problem, key = "what is read is not a key: it has line breaks or control characters inside", ""
	}
	if problem != "" {
		t.doc.keys = append(t.doc.keys, missingKey{r.Name, t.doc.problem(t.key(name), "the workers of this route need it; "+fix, "%s", problem)})
		return ""
	}
	for _, server := range r.Servers {
		if u, err := url.Parse(server); err == nil && u.Scheme == "http" && !loopback(u.Host) && !loopback(u.Host+":80") {
			t.doc.warn(t.key(name), "use https://", "the key goes to %s without encryption", inference.PublicAddress(server))
		}
	}
	return inference.Secret(key)
}

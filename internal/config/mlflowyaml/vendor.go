package mlflowyaml

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"headrace/internal/config"
	"headrace/internal/inference"
)

// vendor is the configuration of a model of OpenAI's, Azure's or Anthropic's while it is translated. No message has a value of
// it: a key may stand where another value belongs.
type vendor struct {
	t        *translator
	key      string // of the settings
	model    *node
	settings *node
	m        *model
	entry    string
	kind     string

	lines []string
	known []string
}

// read translates the settings. The first thing that is wrong leaves the entry out.
func (v *vendor) read() bool {
	if v.settings == nil || v.settings.kind != aMapping {
		v.t.leave(v.model, v.key, "a config with a key is needed")
		return false
	}
	read := v.openAI
	if v.m.provider == config.ProviderAnthropic {
		read = v.anthropic
	}
	if !read() {
		return false
	}
	for _, k := range v.settings.keys {
		if !slices.Contains(v.known, k) {
			v.t.ignore(v.settings.at[k], v.key+"."+k)
		}
	}
	v.m.config = strings.Join(v.lines, "")
	return true
}

func (v *vendor) leave(name, message string) bool {
	at := v.settings.get(name)
	if at == nil {
		at = v.settings
	}
	v.t.leave(at, v.key+"."+name, "%s", message)
	return false
}

// text is a setting that is text. null counts as absent where nullable says so.
func (v *vendor) text(name string, nullable bool) (text string, there, ok bool) {
	v.known = append(v.known, name)
	n := v.settings.get(name)
	switch {
	case n == nil || n.kind == aNull && nullable:
		return "", false, true
	case n.kind != aText:
		return "", true, v.leave(name, "it is "+string(n.kind)+"; put it in quotes")
	}
	return n.text, true, true
}

func (v *vendor) add(name, value string) {
	v.lines = append(v.lines, fmt.Sprintf("%s = %s\n", name, quote(value)))
}

// optional translates settings that are written as they are, where they are there and not empty.
func (v *vendor) optional(names ...string) bool {
	for _, name := range names {
		text, _, ok := v.text(name, true)
		if !ok {
			return false
		}
		if text != "" {
			v.add(name, text)
		}
	}
	return true
}

// base translates an address. MLflow takes any text and fails at every call, so what is no address is left out.
func (v *vendor) base(name string, nullable bool) (there, ok bool) {
	text, _, ok := v.text(name, nullable)
	text = strings.TrimSpace(text)
	if !ok || text == "" {
		return false, ok
	}
	if problem := config.CheckURL(text); problem != "" {
		return true, v.leave(name, "the address "+problem+"; every call would fail, in MLflow as well")
	}
	v.add(name, text)
	return true, true
}

// apiKey translates a credential: $NAME, the path of a file, or the key itself, which is moved to a file of its own.
func (v *vendor) apiKey(name string, required bool) bool {
	v.known = append(v.known, name)
	n := v.settings.get(name)
	switch {
	case n == nil:
		return v.leave(name, "a key is required")
	case n.kind != aText:
		return v.leave(name, "it is "+string(n.kind)+"; a key is text")
	}
	text := n.text
	if variable, ok := strings.CutPrefix(text, "$"); ok {
		if !regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`).MatchString(variable) {
			return v.leave(name, "what follows the $ is not the name of an environment variable")
		}
		v.add(name, "env:"+variable)
		return true
	}
	if v.t.set.IsFile(text) {
		path, err := filepath.Abs(text)
		if err != nil {
			return v.leave(name, "the path of the file cannot be made absolute")
		}
		v.add(name, "file:"+filepath.ToSlash(path))
		return true
	}
	text = strings.TrimSpace(text)
	switch {
	case text == "" && !required:
		return true
	case text == "":
		return v.leave(name, "it is empty; the vendor would refuse every call")
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return v.leave(name, "it has line breaks or control characters inside, so every call would fail, in MLflow as well")
	case v.t.set.Keys == "":
		return v.leave(name, "the key itself stands in the file, and a configuration of Headrace holds none; say with --keys which folder it is to be moved to")
	}
	v.add(name, "file:"+v.moved(text))
	return true
}

// moved is the path of the file that is to hold a key. Entries that share a key share the file.
func (v *vendor) moved(text string) string {
	for _, k := range v.t.out.Keys {
		if string(k.Text) == text {
			return k.Path
		}
	}
	path := filepath.ToSlash(filepath.Join(v.t.set.Keys, v.entry+".key"))
	v.m.keys = append(v.m.keys, Key{Path: path, Text: inference.Secret(text)})
	return path
}

func (v *vendor) named() bool {
	if v.m.name == "" {
		v.t.leave(v.model, strings.TrimSuffix(v.key, "config")+"name", "the model needs a name; MLflow asked the vendor for a model without one, which is refused")
		return false
	}
	return true
}

func (v *vendor) anthropic() bool {
	if v.kind == string(inference.Embeddings) {
		v.t.leave(v.model, strings.TrimSuffix(v.key, "config")+"provider", "Anthropic has no embeddings; MLflow answers 404 or 501 to every call")
		return false
	}
	version, _, ok := v.text("anthropic_version", false)
	if !ok {
		return false
	}
	based, ok := v.base("anthropic_api_base", false)
	if !ok || !v.apiKey("anthropic_api_key", !based) {
		return false
	}
	if version != "" {
		v.add("anthropic_version", version)
	}
	return v.named()
}

func (v *vendor) openAI() bool {
	kind, given, ok := v.text("openai_api_type", false)
	if !ok {
		return false
	}
	kind = strings.ToLower(kind)
	if !given {
		kind = "openai"
	}
	if !slices.Contains([]string{"openai", "azure", "azuread"}, kind) {
		return v.leave("openai_api_type", "it must be openai, azure or azuread")
	}
	if kind != "openai" {
		v.add("openai_api_type", kind)
	}
	based, ok := v.base("openai_api_base", true)
	if !ok || !v.apiKey("openai_api_key", !based || kind != "openai") {
		return false
	}
	if kind != "openai" {
		if !based {
			return v.leave("openai_api_base", "Azure needs the address of its resource")
		}
		return v.azure()
	}
	if n := v.settings.get("openai_deployment_name"); n != nil && n.kind != aNull {
		return v.leave("openai_deployment_name", "only Azure has deployments: openai_api_type must be azure or azuread")
	}
	v.known = append(v.known, "openai_deployment_name")
	return v.optional("openai_api_version", "openai_organization") && v.named()
}

func (v *vendor) azure() bool {
	if n := v.settings.get("openai_organization"); n != nil && n.kind != aNull {
		return v.leave("openai_organization", "Azure has no organizations")
	}
	v.known = append(v.known, "openai_organization")
	for _, name := range []string{"openai_deployment_name", "openai_api_version"} {
		if n := v.settings.get(name); n == nil || n.kind == aText && n.text == "" || n.kind == aNull {
			return v.leave(name, "Azure is asked for a deployment in a version of its API")
		}
	}
	return v.optional("openai_deployment_name", "openai_api_version")
}

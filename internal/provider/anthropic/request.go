package anthropic

import (
	"slices"
	"strconv"
	"strings"

	"headrace/internal/inference"
	"headrace/internal/openai"
	"headrace/internal/splice"
)

// jsonOnly asks for an object in words, where Anthropic's form has no switch for it. The words are MLflow's.
const jsonOnly = "Respond with only a single valid JSON object. Do not include any explanatory text, markdown, or code fences before or after the JSON object."

// call is a request while it is translated.
type call struct {
	vendor  *inference.Vendor
	all     splice.Fields // the caller's, in OpenAI's form
	out     splice.ObjectWriter
	dropped []string
	stream  bool // the answer is to come in pieces

	system   [][]byte // text blocks
	config   splice.ObjectWriter
	metadata []byte
}

// write translates all members. The conversation comes first, for it may be what is wrong.
func (c *call) write() error {
	if err := c.conversation(); err != nil {
		return err
	}
	c.out.AddInt("max_tokens", c.maxTokens())
	if c.stream {
		c.out.Add("stream", []byte("true"))
	}
	for _, m := range c.all {
		if splice.KindOf(m.Value) == splice.Null {
			continue
		}
		if err := c.member(m); err != nil {
			return err
		}
	}
	if err := c.toolChoice(); err != nil {
		return err
	}
	c.writeSystem()
	if config := c.config.Bytes(); len(config) > len("{}") {
		c.out.Add("output_config", config)
	}
	c.out.Add("metadata", c.metadata)
	return nil
}

// maxTokens is the limit that the caller gives, else the route's: Anthropic wants one.
func (c *call) maxTokens() int64 {
	for _, name := range []string{"max_completion_tokens", "max_tokens", "max_tokens_to_sample"} {
		if n := splice.IntOf(c.all.Get(name)); n > 0 {
			return n
		}
	}
	return int64(c.vendor.MaxTokens)
}

// member translates one member. Those that Anthropic has no word for are dropped; those that OpenAI has no word for pass.
func (c *call) member(m splice.Member) error {
	switch m.Key {
	case "model", "messages", "prompt", "max_completion_tokens", "max_tokens", "max_tokens_to_sample", "tool_choice", "parallel_tool_calls", "stream_options":
	case "stream":
		if string(m.Value) == "false" && !c.stream {
			c.out.Add(m.Key, m.Value)
		}
	case "temperature", "top_p", "top_k":
		return c.sampling(m)
	case "n", "candidate_count":
		return one(m)
	case "stop":
		c.stop(m.Value)
	case "system":
		if len(c.system) == 0 { // as in MLflow, system messages count
			c.out.Add(m.Key, m.Value)
		}
	case "tools":
		return c.tools(m.Value)
	case "response_format":
		return c.format(m.Value)
	case "reasoning_effort":
		c.effort(m.Value)
	case "user", "safety_identifier":
		if splice.KindOf(m.Value) == splice.String && c.metadata == nil {
			var o splice.ObjectWriter
			o.Add("user_id", m.Value)
			c.metadata = o.Bytes()
		}
	case "metadata":
		c.about(m.Value)
	case "service_tier":
		tier := `"auto"`
		if splice.TextOf(m.Value) == "default" || splice.TextOf(m.Value) == "standard_only" {
			tier = `"standard_only"`
		}
		c.out.Add(m.Key, []byte(tier))
	case "functions", "function_call":
		return wrong(m.Key, "%s is not supported: OpenAI has replaced it by tools and tool_choice", m.Key)
	default:
		c.other(m)
	}
	return nil
}

// other passes a member that is Anthropic's own, or that neither form knows, and drops one that is OpenAI's alone.
func (c *call) other(m splice.Member) {
	openAIs := []string{
		"audio", "best_of", "echo", "frequency_penalty", "logit_bias", "logprobs", "modalities", "moderation", "prediction", "presence_penalty",
		"prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "seed", "store", "suffix", "top_logprobs", "verbosity", "web_search_options",
	}
	switch {
	case m.Key == "stop_sequences" && c.all.Get("stop") != nil, m.Key == "output_config" || m.Key == "model":
		if m.Key == "output_config" {
			for _, inner := range splice.FieldsOf(m.Value) {
				c.config.Add(inner.Key, inner.Value)
			}
			return
		}
		c.out.Add(m.Key, m.Value)
	case !slices.Contains(openAIs, m.Key):
		c.out.Add(m.Key, m.Value)
	case !openai.Idle(m.Key, m.Value):
		c.dropped = append(c.dropped, m.Key)
	}
}

// sampling does with a parameter what the route says. Anthropic's temperatures end at 1, and a higher one becomes that.
func (c *call) sampling(m splice.Member) error {
	switch c.vendor.Sampling {
	case inference.SamplingDrop:
		c.dropped = append(c.dropped, m.Key)
		return nil
	case inference.SamplingRefuse:
		return wrong(m.Key, "%s does not reach the model of this route, whose operator has such calls refused; leave it out", m.Key)
	case inference.SamplingPass:
	}
	value := m.Value
	if t, err := strconv.ParseFloat(string(value), 64); m.Key == "temperature" && err == nil && t > c.vendor.MaxTemperature() {
		value = strconv.AppendFloat(nil, c.vendor.MaxTemperature(), 'f', 1, 64)
	}
	c.out.Add(m.Key, value)
	return nil
}

// one refuses to ask for several answers, in MLflow's words.
func one(m splice.Member) error {
	if n := splice.IntOf(m.Value); n == 1 {
		return nil
	}
	return wrong(m.Key, "'%s' must be '1' for the Anthropic provider. Received value: '%.20s'.", m.Key, m.Value)
}

// stop translates stop texts. Those of white space alone are refused by Anthropic, and left out.
func (c *call) stop(value []byte) {
	if c.all.Get("stop_sequences") != nil {
		return // Anthropic's own name counts
	}
	stops := splice.ListOf(value)
	if splice.KindOf(value) == splice.String {
		stops = [][]byte{value}
	}
	kept := slices.DeleteFunc(slices.Clone(stops), func(s []byte) bool { return strings.TrimSpace(splice.TextOf(s)) == "" })
	if len(kept) < len(stops) {
		c.dropped = append(c.dropped, "stop (white space)")
	}
	if len(kept) > 0 {
		c.out.Add("stop_sequences", splice.ListWith(kept...))
	}
}

// effort translates how much a model is to think.
func (c *call) effort(value []byte) {
	switch effort := splice.TextOf(value); effort {
	case "":
	case "none":
		var o splice.ObjectWriter
		o.AddText("type", "disabled")
		c.out.Add("thinking", o.Bytes())
	case "minimal":
		c.config.AddText("effort", "low")
	default:
		c.config.Add("effort", value)
	}
}

// about passes Anthropic's metadata. OpenAI's are notes of the caller's, which Anthropic does not take.
func (c *call) about(value []byte) {
	all := splice.FieldsOf(value)
	switch {
	case len(all) == 1 && all[0].Key == "user_id":
		c.metadata = value
	case len(all) > 0:
		c.dropped = append(c.dropped, "metadata")
	}
}

// writeSystem writes what all system messages say: one text, unless a part is marked for the cache.
func (c *call) writeSystem() {
	if len(c.system) == 0 {
		return
	}
	var texts []string
	for _, block := range c.system {
		of := splice.FieldsOf(block)
		if len(of) > 2 {
			c.out.Add("system", splice.ListWith(c.system...))
			return
		}
		texts = append(texts, of.Text("text"))
	}
	c.out.AddText("system", strings.Join(texts, "\n"))
}

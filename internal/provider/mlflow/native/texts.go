package native

import (
	"strconv"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/openai"
	"headrace/internal/splice"
)

// encodeCompletions writes a call for llm/v1/completions: one prompt bare, several as `inputs` of objects with equal
// parameters.
func encodeCompletions(req *inference.Request, lost *dropped) []byte {
	var params splice.ObjectWriter
	all := splice.FieldsOf(req.Params)
	for _, m := range all {
		switch {
		case splice.KindOf(m.Value) == splice.Null, m.Key == "model", m.Key == "stream", m.Key == "stream_options":
		case m.Key == "temperature":
			params.Add(m.Key, m.Value)
		case m.Key == "max_tokens" && all.Get("max_completion_tokens") == nil, m.Key == "max_completion_tokens":
			params.Add("max_tokens", whole(m.Value))
		case m.Key == "n" || m.Key == "candidate_count":
			if n := whole(m.Value); string(n) != "1" {
				params.Add("n", n)
			}
		case m.Key == "stop":
			params.Add(m.Key, stops(m.Value))
		case !openai.Idle(m.Key, m.Value):
			lost.add(m.Key)
		}
	}
	shared := splice.FieldsOf(params.Bytes())
	var rows [][]byte
	for _, prompt := range req.Items {
		var o splice.ObjectWriter
		o.Add("prompt", prompt)
		for _, m := range shared {
			o.Add(m.Key, m.Value)
		}
		rows = append(rows, o.Bytes())
	}
	if len(rows) == 1 {
		return rows[0]
	}
	var o splice.ObjectWriter
	o.Add("inputs", splice.ListWith(rows...))
	return o.Bytes()
}

// encodeEmbeddings writes a call for llm/v1/embeddings.
func encodeEmbeddings(req *inference.Request, lost *dropped) []byte {
	for _, m := range splice.FieldsOf(req.Params) {
		if m.Key != "model" && m.Key != "dimensions" && !openai.Idle(m.Key, m.Value) { // dimensions are compared with the reply
			lost.add(m.Key)
		}
	}
	var o splice.ObjectWriter
	o.Add("input", splice.ListWith(req.Items...))
	return o.Bytes()
}

// decodeCompletions reads one completion, or one for each prompt.
func decodeCompletions(req *inference.Request, value []byte) (*inference.Result, error) {
	replies := [][]byte{value}
	if all := splice.ListOf(value); all != nil {
		replies = all
	}
	prompts := max(1, len(req.Items))
	if len(replies) != prompts {
		return nil, fault.New(fault.UpstreamBadResponse, "the model server answered %d prompts with %d completions", prompts, len(replies))
	}
	res := &inference.Result{}
	var finish [][]byte
	usage := sum{counts: map[string]int64{}}
	for _, reply := range replies {
		fields := splice.FieldsOf(reply)
		choices := splice.ListOf(fields.Get("choices"))
		if len(choices) == 0 {
			return nil, shapeless("a completion, an object with choices", reply)
		}
		for _, choice := range choices {
			of := splice.FieldsOf(choice)
			words := of.Get("text")
			if words == nil {
				words = splice.FieldsOf(of.Get("message")).Get("content")
			}
			if splice.KindOf(words) != splice.String {
				return nil, shapeless("a completion, whose choices have texts", reply)
			}
			res.Items = append(res.Items, words)
			why := of.Get("finish_reason")
			if why == nil {
				why = []byte(`"stop"`)
			}
			finish = append(finish, why)
		}
		if prompts > 1 {
			res.Groups = append(res.Groups, len(choices))
		}
		usage.add(fields.Get("usage"))
	}
	var o splice.ObjectWriter
	o.Add("finish_reasons", splice.ListWith(finish...))
	o.Add("usage", usage.bytes())
	res.Body = o.Bytes()
	return res, nil
}

// decodeEmbeddings reads OpenAI's list of embeddings.
func decodeEmbeddings(value []byte) (*inference.Result, error) {
	fields := splice.FieldsOf(value)
	rows := splice.ListOf(fields.Get("data"))
	if len(rows) == 0 {
		return nil, shapeless("a list of embeddings, an object with data", value)
	}
	res := &inference.Result{Items: make([][]byte, len(rows))}
	for i, row := range rows {
		of := splice.FieldsOf(row)
		at := i
		if n, err := strconv.Atoi(string(of.Get("index"))); err == nil && n >= 0 && n < len(rows) {
			at = n
		}
		vector := of.Get("embedding")
		if splice.KindOf(vector) != splice.Array || res.Items[at] != nil {
			return nil, shapeless("a list of embeddings, each with a vector and an index of its own", value)
		}
		res.Items[at] = vector
	}
	var o splice.ObjectWriter
	o.Add("usage", fields.Get("usage"))
	res.Body = o.Bytes()
	return res, nil
}

// sum adds the usages of several replies up. It is known only when each reply tells it.
type sum struct {
	counts  map[string]int64
	order   []string
	unknown bool
	only    []byte // as long as there is one
	many    bool
}

func (s *sum) add(usage []byte) {
	fields := splice.FieldsOf(usage)
	if len(fields) == 0 {
		s.unknown = true
		return
	}
	s.many = s.many || s.only != nil
	s.only = usage
	for _, m := range fields {
		n, err := strconv.ParseInt(string(m.Value), 10, 64)
		if err != nil {
			continue
		}
		if _, known := s.counts[m.Key]; !known {
			s.order = append(s.order, m.Key)
		}
		s.counts[m.Key] += n
	}
}

// bytes is the sum; nil when it is not known.
func (s *sum) bytes() []byte {
	switch {
	case s.unknown:
		return nil
	case !s.many:
		return s.only
	}
	var o splice.ObjectWriter
	for _, key := range s.order {
		o.Add(key, strconv.AppendInt(nil, s.counts[key], 10))
	}
	return o.Bytes()
}

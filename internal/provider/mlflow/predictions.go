package mlflow

import (
	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/splice"
)

// predictions is what a reply holds under that key; the last one counts when there are several.
type predictions struct {
	found    bool
	elements []splice.Value // of a list
	value    splice.Value   // what it is; of a list only the kind is set
}

// locate finds the predictions of a reply in one pass over it. The error is of package splice.
func locate(body []byte, expected int) (predictions, error) {
	var p predictions
	r := splice.NewReader(body)
	err := r.Object(func(key string) error {
		if key != "predictions" {
			return nil
		}
		p = predictions{found: true}
		if r.Kind() != splice.Array {
			var err error
			p.value, err = r.Value()
			return err
		}
		p.value.Kind = splice.Array
		p.elements = make([]splice.Value, 0, expected)
		return r.Array(func(int) error {
			v, err := r.Value()
			p.elements = append(p.elements, v)
			return err
		})
	})
	if err == nil {
		err = r.End()
	}
	return p, err
}

// read locates the predictions of a reply to req and applies the route's declared mapping. shape is the
// route type's rule, for complaints.
func read(route *inference.Route, req *inference.Request, reply provider.Reply, s shape) (predictions, error) {
	if v := splice.KindOf(reply.Body); v != splice.Object {
		if _, err := splice.Whole(reply.Body); err != nil {
			return predictions{}, notJSON(reply, err.Error())
		}
		return predictions{}, fault.New(fault.UpstreamBadResponse,
			`the model server's reply is %s instead of an object with the key "predictions"; is model_server_url an MLflow model server?`, v)
	}
	p, err := locate(reply.Body, len(req.Items))
	if err != nil {
		return predictions{}, notJSON(reply, err.Error())
	}
	if !p.found {
		return predictions{}, s.wrong(complaint{rule: "Field required", came: `the reply has no key "predictions"`}, reply)
	}
	if route.Output != nil && route.Output.Field != "" {
		return mapped(p, route.Output.Field, s, reply)
	}
	return p, nil
}

// mapped replaces each object that is a prediction, or all predictions, by its member named field.
func mapped(p predictions, field string, s shape, reply provider.Reply) (predictions, error) {
	if p.value.Kind == splice.Object {
		v, ok := member(p.value.Raw, field)
		if !ok {
			return p, s.wrong(complaint{rule: "Field required", came: `predictions has no key "` + field + `", which the route's output names`}, reply)
		}
		return listed(v), nil
	}
	for i, e := range p.elements {
		if e.Kind != splice.Object {
			continue
		}
		v, ok := member(e.Raw, field)
		if !ok {
			return p, s.wrong(complaint{at: dotted(i), rule: "Field required", came: name(i) + ` has no key "` + field + `", which the route's output names`}, reply)
		}
		p.elements[i] = v
	}
	return p, nil
}

// listed takes a value for the predictions.
func listed(v splice.Value) predictions {
	p := predictions{found: true, value: v}
	if v.Kind == splice.Array {
		p.elements = elementsOf(v.Raw)
	}
	return p
}

// elementsOf describes the elements of a list that has been checked before.
func elementsOf(list []byte) []splice.Value {
	var elements []splice.Value
	r := splice.NewReader(list)
	if err := r.Array(func(int) error {
		v, err := r.Value()
		elements = append(elements, v)
		return err
	}); err != nil {
		return nil
	}
	return elements
}

// members lists the members of an object that has been checked before, the last of equal keys only, in the
// order of their first occurrence, as a Python dict has them.
func members(object []byte) ([]string, map[string]splice.Value) {
	var keys []string
	values := make(map[string]splice.Value)
	r := splice.NewReader(object)
	if err := r.Object(func(key string) error {
		if _, again := values[key]; !again {
			keys = append(keys, key)
		}
		v, err := r.Value()
		values[key] = v
		return err
	}); err != nil {
		return nil, nil
	}
	return keys, values
}

func member(object []byte, key string) (splice.Value, bool) {
	_, values := members(object)
	v, ok := values[key]
	return v, ok
}

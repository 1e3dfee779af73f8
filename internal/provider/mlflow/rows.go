package mlflow

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/splice"
)

// maxKey is how long a key may be before its digest stands for it: a table may have hundreds of columns.
const maxKey = 256

var _ provider.Merger = (*Provider)(nil)

// Rows takes a request apart. Texts and prompts always have rows. A body on a raw route has them in `inputs` or
// `instances` when that is a list, in the `data` of a `dataframe_split`, and in `dataframe_records`, and only when
// each row has the same values of the same kinds: pandas and numpy find one type for a whole column or array, so
// one null or one 2.5 would turn the 1 of another caller into 1.0. Chat never has rows: a model server answers the
// first conversation and drops the others without a word. Bodies with anything that is not understood have none.
func (*Provider) Rows(_ *inference.Route, req *inference.Request) (provider.Rows, bool) {
	switch req.Type {
	case inference.Chat:
		return provider.Rows{}, false
	case inference.Completions, inference.Embeddings:
		return textRows(req)
	case inference.Raw:
		return bodyRows(req.Body)
	}
	return provider.Rows{}, false
}

// Merge makes one call of rows.
func (*Provider) Merge(like provider.Rows, rows [][]byte) provider.Call {
	size := len(like.Head) + len(like.Tail) + len(rows)
	for _, row := range rows {
		size += len(row)
	}
	body := append(make([]byte, 0, size), like.Head...)
	for i, row := range rows {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, row...)
	}
	return provider.Call{Path: path, ContentType: "application/json", Body: append(body, like.Tail...)}
}

// textRows are the items of a request; they must all be strings.
func textRows(req *inference.Request) (provider.Rows, bool) {
	if len(req.Items) == 0 {
		return provider.Rows{}, false
	}
	for _, item := range req.Items {
		if splice.KindOf(item) != splice.String || !utf8.Valid(item) {
			return provider.Rows{}, false
		}
	}
	var params []byte
	if hasParams(req.Params) {
		var ok bool
		if params, ok = sorted(req.Params); !ok {
			return provider.Rows{}, false
		}
	}
	return assemble("inputs", nil, "s", params, req.Items), true
}

// bodyRows finds the rows of a body.
func bodyRows(body []byte) (provider.Rows, bool) {
	form, value, params, ok := envelope(body)
	if !ok {
		return provider.Rows{}, false
	}
	var columns []byte
	if form == "dataframe_split" {
		if columns, value, ok = split(value); !ok {
			return provider.Rows{}, false
		}
	}
	if !hasParams(params) {
		params = nil
	} else if params, ok = sorted(params); !ok {
		return provider.Rows{}, false
	}
	rows, shape, ok := alike(form, value)
	if !ok {
		return provider.Rows{}, false
	}
	return assemble(form, columns, shape, params, rows), true
}

// envelope finds the one member with rows, and params, which must be all there is: MLflow drops other members or
// hands them to the model, and that is not ours to judge.
func envelope(body []byte) (form string, value, params []byte, ok bool) {
	if !utf8.Valid(body) || splice.KindOf(body) != splice.Object {
		return "", nil, nil, false
	}
	found, err := splice.Members(body)
	if err != nil {
		return "", nil, nil, false
	}
	for _, m := range found {
		switch m.Key {
		case "params":
			if splice.KindOf(m.Value) != splice.Object || params != nil {
				return "", nil, nil, false
			}
			params = m.Value
		case "inputs", "instances", "dataframe_records", "dataframe_split":
			if form != "" {
				return "", nil, nil, false
			}
			form, value = m.Key, m.Value
		default:
			return "", nil, nil, false
		}
	}
	return form, value, params, form != ""
}

// split takes a dataframe_split apart. Its index may only number the rows from 0, as pandas does by itself.
func split(value []byte) (columns, data []byte, ok bool) {
	if splice.KindOf(value) != splice.Object {
		return nil, nil, false
	}
	found, err := splice.Members(value)
	if err != nil {
		return nil, nil, false
	}
	var index []byte
	for _, m := range found {
		var into *[]byte
		switch m.Key {
		case "columns":
			into = &columns
		case "data":
			into = &data
		case "index":
			into = &index
		default:
			return nil, nil, false
		}
		if *into != nil || splice.KindOf(m.Value) != splice.Array {
			return nil, nil, false
		}
		*into = m.Value
	}
	if data == nil || !counts(index, data) {
		return nil, nil, false
	}
	if columns == nil {
		return nil, data, true
	}
	names, err := splice.Elements(columns)
	if err != nil {
		return nil, nil, false
	}
	return slices.Concat([]byte{'['}, bytes.Join(names, []byte{','}), []byte{']'}), data, true
}

// counts says whether index, when there is one, is 0, 1, 2, ... for each element of data.
func counts(index, data []byte) bool {
	if index == nil {
		return true
	}
	numbers, err := splice.Elements(index)
	if err != nil {
		return false
	}
	v, err := splice.Whole(data)
	if err != nil || v.Len != len(numbers) {
		return false
	}
	for i, n := range numbers {
		if string(n) != strconv.Itoa(i) {
			return false
		}
	}
	return true
}

// alike lists the elements of a list that all have one shape.
func alike(form string, list []byte) (rows [][]byte, shape string, ok bool) {
	if splice.KindOf(list) != splice.Array {
		return nil, "", false
	}
	rows, err := splice.Elements(list)
	if err != nil || len(rows) == 0 {
		return nil, "", false
	}
	for i, row := range rows {
		s, ok := shapeOf(row)
		if !ok || i > 0 && s != shape {
			return nil, "", false
		}
		shape = s
	}
	if form == "dataframe_records" && shape[0] != '{' || form == "dataframe_split" && shape[0] != '[' {
		return nil, "", false
	}
	return rows, shape, true
}

// sorted writes an object with its members in the order of their keys.
func sorted(object []byte) ([]byte, bool) {
	found, err := splice.Members(object)
	if err != nil {
		return nil, false
	}
	slices.SortStableFunc(found, func(a, b splice.Member) int { return strings.Compare(a.Key, b.Key) })
	text := []byte{'{'}
	for i, m := range found {
		if i > 0 {
			if found[i-1].Key == m.Key {
				return nil, false
			}
			text = append(text, ',')
		}
		text = append(append(append(text, encoded(m.Key)...), ':'), m.Value...)
	}
	if v, err := splice.Whole(append(text, '}')); err != nil || v.NonFinite {
		return nil, false
	}
	return append(text, '}'), true
}

// assemble writes what stands around the rows, and the key, which is the same with the shape in their place.
func assemble(form string, columns []byte, shape string, params []byte, values [][]byte) provider.Rows {
	head, tail := []byte(`{"`+form+`":`), []byte{']'}
	if form == "dataframe_split" {
		head = append(head, '{')
		if columns != nil {
			head = append(append(append(head, `"columns":`...), columns...), ',')
		}
		head, tail = append(head, `"data":`...), append(tail, '}')
	}
	head = append(head, '[')
	if params != nil {
		tail = append(append(tail, `,"params":`...), params...)
	}
	tail = append(tail, '}')
	key := string(head) + shape + string(tail)
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = form + " " + hex.EncodeToString(sum[:])
	}
	return provider.Rows{Key: key, Values: values, Head: head, Tail: tail}
}

package link

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// PubAck is the answer of JetStream to a publish.
type PubAck struct {
	Sequence uint64 `json:"seq"`
	Error    *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// ReadAck reads an acknowledgement. Nearly all are {"stream":"INFER_3","seq":12}, and one comes with each call, so
// that form is read without the JSON package.
func ReadAck(data []byte) (ack PubAck, err error) {
	if rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`+StreamPrefix)); ok {
		_, rest, _ = bytes.Cut(rest, []byte(`","seq":`))
		if digits, ok := bytes.CutSuffix(rest, []byte("}")); ok {
			if ack.Sequence, err = strconv.ParseUint(string(digits), 10, 64); err == nil {
				return ack, nil
			}
		}
	}
	err = json.Unmarshal(data, &ack)
	return ack, err
}

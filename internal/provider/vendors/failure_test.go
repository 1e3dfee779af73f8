package vendors_test

import (
	"strings"
	"testing"
	"time"

	"headrace/internal/fault"
	"headrace/internal/inference"
	"headrace/internal/provider"
	"headrace/internal/provider/vendors"
)

func TestFailure(t *testing.T) {
	t.Parallel()
	const json, text, html = "application/json", "text/plain", "text/html; charset=utf-8"
	for name, c := range map[string]struct {
		status      int
		media, body string
		want        fault.Error // Code is not looked at
		detail      string
	}{
		"OpenAI's": {
			400, json, `{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`,
			fault.Error{Status: 400, Message: "too long", Kind: "invalid_request_error", Reason: "context_length_exceeded", Param: "messages"},
			`"too long"`,
		},
		"pace": {
			429, json, `{"error":{"message":"slow","type":"requests","code":"rate_limit_exceeded"}}`,
			fault.Error{Status: 429, Message: "slow", Kind: "requests", Reason: "rate_limit_exceeded", Repeat: fault.RepeatHelps, RetryAfter: time.Second},
			`"slow"`,
		},
		"money": {
			429, json, `{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}`,
			fault.Error{Status: 429, Message: "pay", Kind: "insufficient_quota", Reason: "insufficient_quota", Repeat: fault.RepeatVain, RetryAfter: time.Second},
			`"pay"`,
		},
		"Anthropic's money": {
			429, json, `{"type":"error","error":{"type":"rate_limit_error","message":"pay","details":{"error_code":"enforced_spend_limit_reached"}}}`,
			fault.Error{Status: 429, Message: "pay", Kind: "rate_limit_error", Reason: "enforced_spend_limit_reached", Repeat: fault.RepeatVain, RetryAfter: time.Second},
			`"pay"`,
		},
		"Anthropic's load": {
			529, json, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`,
			fault.Error{Status: 529, Message: "Overloaded", Kind: "overloaded_error", Repeat: fault.RepeatHelps, RetryAfter: time.Second},
			`"Overloaded"`,
		},
		"vLLM's number": {
			400, json, `{"error":{"message":"m","type":"BadRequestError","code":400}}`,
			fault.Error{Status: 400, Message: "m", Kind: "BadRequestError", Reason: "400"},
			`"m"`,
		},
		"TGI's text": {
			429, json, `{"error":"full","error_type":"overloaded"}`,
			fault.Error{Status: 429, Message: "full", Kind: "overloaded", Repeat: fault.RepeatHelps, RetryAfter: time.Second},
			`"full"`,
		},
		"Azure's": {
			404, json, `{"statusCode":404,"message":"no such deployment"}`,
			fault.Error{Status: 404, Message: "no such deployment"},
			`{"statusCode":404,"message":"no such deployment"}`,
		},
		"a message that is an object": {
			400, json, `{"error":{"message":{"a":NaN}}}`, fault.Error{Status: 400, Message: "the vendor of the model answered 400 Bad Request"}, `{"a":null}`,
		},
		"a message that is missing": {500, json, `{"error":{}}`, fault.Error{Status: 500, Message: "the vendor of the model answered 500 Internal Server Error", Repeat: fault.RepeatHelps}, `"Internal Server Error"`},
		"a message that is empty":   {400, json, `{"error":{"message":""}}`, fault.Error{Status: 400, Message: "the vendor of the model answered 400 Bad Request"}, `""`},
		"text":                      {503, text, " busy \n", fault.Error{Status: 503, Message: "busy", Repeat: fault.RepeatHelps, RetryAfter: time.Second}, `{"message":"busy"}`},
		"a page": {
			503, html, "<html>busy</html>",
			fault.Error{Status: 503, Message: "the vendor of the model, or a proxy before it, answered 503 Service Unavailable", Repeat: fault.RepeatHelps, RetryAfter: time.Second},
			`"The returned data type from the route service is not supported. Received content type: text/html; charset=utf-8"`,
		},
		"nothing": {
			409, json, "",
			fault.Error{Status: 409, Message: "the vendor of the model, or a proxy before it, answered 409 Conflict", Repeat: fault.RepeatHelps},
			`"the vendor of the model, or a proxy before it, answered 409 Conflict"`,
		},
		"the key in a text": {422, json, `{"error":{"message":"is sk-s3cret right?"}}`, fault.Error{Status: 422, Message: "is [hidden] right?"}, `"is [hidden] right?"`},
	} {
		err := vendors.Failure(&inference.Vendor{Key: "sk-s3cret"}, provider.Reply{Status: c.status, ContentType: c.media, Body: []byte(c.body), RetryAfter: c.want.RetryAfter})
		e := fault.From(err)
		if e.Code != fault.UpstreamError || e.Status != c.want.Status || e.Message != c.want.Message || e.Kind != c.want.Kind || e.Reason != c.want.Reason ||
			e.Param != c.want.Param || e.Repeat != c.want.Repeat || e.RetryAfter != c.want.RetryAfter || string(e.Detail) != c.detail {
			t.Errorf("%s: got %+v, detail %s", name, e, e.Detail)
		}
	}
}

// A refusal of the gateway's own key shows callers nothing of it, and the log no more than what 403 says beside it.
func TestRefusedKey(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403} {
		e := fault.From(vendors.Failure(&inference.Vendor{Key: "sk-s3cret"}, provider.Reply{
			Status: status, ContentType: "application/json", Body: []byte(`{"error":{"message":"wrong key sk-s3cret, sk-s3***et","type":"t","code":"invalid_api_key"}}`),
		}))
		if e.Status != 502 || e.Repeat != fault.RepeatVain || strings.Contains(e.Message, "sk-") || e.Detail != nil || !strings.Contains(e.Message, "(t, invalid_api_key)") {
			t.Errorf("%d: %+v", status, e)
		}
		if strings.Contains(e.Error(), "sk-s3cret") || strings.Contains(e.Error(), "wrong key") != (status == 403) {
			t.Errorf("%d: the log shows %s", status, e.Error())
		}
	}
}

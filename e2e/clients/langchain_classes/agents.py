"""OpenAI's SDK and LangChain with models that take conversations.

usage: agents.py GATEWAY ROUTE...
"""

import sys
from typing import Optional

import openai
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

base = sys.argv[1] + "/v1"
client = openai.OpenAI(base_url=base, api_key="none", max_retries=0)
talk = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "hello"}]}]


@tool
def get_weather(city: str, unit: Optional[str] = None) -> str:
    """The weather of a city."""
    return city


for route in sys.argv[2:]:
    print(route)
    once = client.chat.completions.create(model=route, messages=talk, max_completion_tokens=9)
    text = once.choices[0].message.content
    assert text.startswith("you said: hello"), text
    assert once.id and once.model == route and once.choices[0].finish_reason == "stop", once
    whole = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(model=route, messages=talk, stream=True))
    assert whole.startswith("you said: hello"), whole
    with client.chat.completions.stream(model=route, messages=talk) as stream:
        assert stream.get_final_completion().choices[0].message.content.startswith("you said: hello")
    response = client.responses.create(model=route, input="hello", instructions="be terse")
    assert response.output_text.startswith("you said: hello") and response.status == "completed" and response.id, response
    with client.responses.stream(model=route, input="hello") as stream:
        assert stream.get_final_response().output_text.startswith("you said: hello")
    given = client.chat.completions.with_raw_response.create(model=route, messages=talk, response_format={"type": "json_object"})
    assert given.headers["Headrace-Dropped"] == "response_format", given.headers
    for stream in [False, True]:
        try:
            list(client.chat.completions.create(model=route, messages=[{"role": "user", "content": "raise it"}], stream=stream))
            raise SystemExit("an exception of the model was no error")
        except openai.InternalServerError as e:
            assert "says no: raise it" in str(e) and "Traceback" not in str(e), e
    for responses in [False, True]:
        chat = ChatOpenAI(model=route, base_url=base, api_key="none", max_retries=0, use_responses_api=responses)
        assert chat.invoke("hello").text.startswith("you said: hello")
        assert "".join(c.text for c in chat.stream("hello")).startswith("you said: hello")
        called = chat.bind_tools([get_weather]).invoke("tool")
        assert called.tool_calls or "Rome" in called.text, called

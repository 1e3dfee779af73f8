"""The Python package openai, streams whose pieces come as they are written, and streams that break off.

usage: streams.py BASE_URL ROUTE=MODEL_SERVER...

The model server behind each ROUTE writes "piece 0 ", "piece 1 ", ... for any message, each when it is told that the one before it
has been seen, and breaks off after two pieces for the message "cut". Exit status 0 and "ok: N checks", or 1 and "FAIL: ...".
"""

import sys
import urllib.request

import openai

base, *routes = sys.argv[1:]
servers = dict(route.split("=", 1) for route in routes)
client = openai.OpenAI(base_url=base + "/v1", api_key="not needed", max_retries=0)
checks = 0


def check(ok, what) -> None:
    global checks
    checks += 1
    if not ok:
        print(f"FAIL: {what}", file=sys.stderr)
        sys.exit(1)


def seen(route) -> None:
    """The next piece comes only after this: so a piece that was seen was not held back for others."""
    with urllib.request.urlopen(servers[route] + "/seen", timeout=30):
        pass


def chat(route, said):
    text = ""
    messages = [{"role": "user", "content": said}]
    with client.chat.completions.create(model=route, messages=messages, stream=True) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                text += chunk.choices[0].delta.content
                seen(route)
    return text


def responses(route, said):
    text, completed = "", None
    with client.responses.create(model=route, input=said, stream=True) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
                seen(route)
            if event.type == "response.completed":
                completed = event.response
            if event.type in ("error", "response.failed"):
                raise openai.APIError(str(event), request=None, body=None)
    if completed is None:
        raise RuntimeError("the stream ended without response.completed, and nothing was raised")
    check(completed.output_text == text, f"{route}: the completed answer is {completed.output_text!r}")
    return text


def whole(what, ask, route) -> None:
    text = ask(route, "hello")
    check(text == "piece 0 piece 1 piece 2 piece 3 ", f"{what} of {route}: {text!r}")


def broken(what, ask, route) -> None:
    try:
        text = ask(route, "cut")
    except openai.APIError:
        check(True, "")
        return
    check(False, f"{what} of {route}: a stream that broke off was taken for the answer {text!r}")


for route in servers:
    whole("chat", chat, route)
    broken("chat", chat, route)
    if route == "agent":  # a vendor is asked for chats and responses at paths of their own
        whole("responses", responses, route)
        broken("responses", responses, route)
print(f"ok: {checks} checks")

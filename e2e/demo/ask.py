"""Asks every route of the demo in every dialect that its type has, and prints questions and answers."""

import base64
import json
import math
import struct
import subprocess
import urllib.error
import urllib.request

SENTENCES = [
    "A cat sleeps on the warm sofa.",
    "The kitten is napping on the couch.",
    "Stock markets fell sharply today.",
    "Investors lost money as shares dropped.",
]
FLOWERS = ["setosa", "versicolor", "virginica"]
COLUMNS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]


class Asker:
    def __init__(self, url: str):
        self.url, self.good = url, True

    def post(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return self.send(request)

    def get(self, path: str) -> dict:
        return self.send(urllib.request.Request(self.url + path))

    def send(self, request: urllib.request.Request) -> dict:
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as refusal:
            return {"status": refusal.code, **json.load(refusal)}

    def check(self, what: str, answer) -> None:
        """One line of the second kind: which dialect, and what it said."""
        mark = "ok  " if answer is not None else "FAIL"
        self.good &= answer is not None
        print(f"    {mark} {what:<48} {'' if answer is None else answer}")


def pick(reply: dict, *path):
    """The value at a path of a reply, or None."""
    for step in path:
        try:
            reply = reply[step]
        except (KeyError, IndexError, TypeError):
            return None
    return reply


def cosine(a: list, b: list) -> float:
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def embeddings(a: Asker) -> None:
    print("\nWhich of these sentences mean the same?  (route embeddings: MiniLM)\n")
    vectors = pick(a.post("/gateway/embeddings/invocations", {"text": SENTENCES}), "embeddings") or []
    a.good &= len(vectors) == len(SENTENCES)
    for i, v in enumerate(vectors):
        row = "  ".join(f"{cosine(v, w):5.2f}" for w in vectors)
        print(f"    {i + 1}  {row}   {SENTENCES[i]}")
    a.good &= len(vectors) == 4 and cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2])
    print("\n    every dialect gives the same numbers:")

    def same(vector):
        close = vector and vectors and cosine(vector, vectors[0]) > 0.9999
        return f"{len(vector)} floats, the same" if close else None

    one = SENTENCES[0]
    a.check("POST /gateway/embeddings/invocations", same(pick(a.post("/gateway/embeddings/invocations", {"text": one}), "embeddings", 0)))
    a.check("POST /endpoints/embeddings/invocations", same(pick(a.post("/endpoints/embeddings/invocations", {"input": one}), "data", 0, "embedding")))
    a.check("POST /v1/routes/embeddings/invocations", same(pick(a.post("/v1/routes/embeddings/invocations", {"input": one}), "data", 0, "embedding")))
    body = {"model": "embeddings", "input": one}
    a.check("POST /v1/embeddings (float)", same(pick(a.post("/v1/embeddings", body), "data", 0, "embedding")))
    text = pick(a.post("/v1/embeddings", {**body, "encoding_format": "base64"}), "data", 0, "embedding")
    raw = base64.b64decode(text) if isinstance(text, str) else b""
    a.check("POST /v1/embeddings (base64)", same(list(struct.unpack(f"<{len(raw) // 4}f", raw))))


def fillmask(a: Asker) -> None:
    print("\nWhat belongs in the gap?  (route fillmask: a small BERT)\n")
    for prompt in ["I like to [MASK] cars!", "Paris is the [MASK] of France.", "I like to [MASK] tea!"]:
        word = pick(a.post("/gateway/fillmask/invocations", {"prompt": prompt}), "candidates", 0, "text")
        a.good &= isinstance(word, str)
        print(f"    {prompt:<36} {prompt.replace('[MASK]', str(word).upper())}")
    print()
    prompt = "I like to [MASK] cars!"
    a.check("POST /gateway/fillmask/invocations", pick(a.post("/gateway/fillmask/invocations", {"prompt": prompt}), "candidates", 0, "text"))
    a.check("POST /endpoints/fillmask/invocations", pick(a.post("/endpoints/fillmask/invocations", {"prompt": prompt}), "choices", 0, "text"))
    a.check("POST /v1/routes/fillmask/invocations", pick(a.post("/v1/routes/fillmask/invocations", {"prompt": prompt}), "choices", 0, "text"))
    a.check("POST /v1/completions", pick(a.post("/v1/completions", {"model": "fillmask", "prompt": prompt}), "choices", 0, "text"))


def chat(a: Asker) -> None:
    print("\nAnd as a chat?  (endpoint chat: the same model server, the same slots)\n")
    messages = [{"role": "user", "content": "A dog is an [MASK]."}]
    print(f"    user: {messages[0]['content']}\n")
    for path in ["/gateway/chat/invocations", "/endpoints/chat/invocations", "/v1/routes/chat/invocations"]:
        a.check(f"POST {path}", pick(a.post(path, {"messages": messages}), "choices", 0, "message", "content"))
    history = [{"role": "system", "content": "You are a botanist."}, {"role": "user", "content": "A rose is a [MASK]."}]
    a.check("POST /v1/chat/completions", pick(a.post("/v1/chat/completions", {"model": "chat", "messages": messages}), "choices", 0, "message", "content"))
    a.check("POST /v1/chat/completions (with history)", pick(a.post("/v1/chat/completions", {"model": "chat", "messages": history}), "choices", 0, "message", "content"))


def iris(a: Asker) -> None:
    print("\nWhich iris has these leaves?  (endpoint iris: scikit-learn, its own requests and answers)\n")
    rows = [[5.1, 3.5, 1.4, 0.2], [6.0, 2.7, 4.5, 1.5], [7.2, 3.2, 6.0, 1.8]]
    split = {"dataframe_split": {"columns": COLUMNS, "data": rows}}
    inputs = {"inputs": {c: [r[i] for r in rows] for i, c in enumerate(COLUMNS)}}
    for r, number in zip(rows, pick(a.post("/v1/routes/iris/invocations", split), "predictions") or []):
        print(f"    sepal {r[0]} x {r[1]} cm, petal {r[2]} x {r[3]} cm:  iris {FLOWERS[number]}")
    print()
    for path in ["/v1/routes/iris/invocations", "/gateway/iris/invocations", "/endpoints/iris/invocations"]:
        for form, body in (("dataframe_split", split), ("inputs", inputs)):
            a.check(f"POST {path} ({form})", pick(a.post(path, body), "predictions"))


def assistant(a: Asker) -> None:
    print("\nA ChatModel, as OpenAI's clients ask it?  (endpoint assistant: no LLM, it repeats what it hears)\n")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello there"}]
    body = {"model": "assistant", "messages": messages}
    a.check("POST /v1/chat/completions", said(pick(a.post("/v1/chat/completions", body), "choices", 0, "message", "content")))
    weather = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
    asked = {"model": "assistant", "messages": [{"role": "user", "content": "tool"}], "tools": [weather]}
    a.check("POST /v1/chat/completions (tools)", pick(a.post("/v1/chat/completions", asked), "choices", 0, "message", "tool_calls", 0, "function"))
    a.check("POST /v1/responses", said(pick(a.post("/v1/responses", {"model": "assistant", "input": "Hello there"}), "output", 0, "content", 0, "text")))
    a.check("POST /v1/chat/completions (stream)", said(streamed(a, {**body, "stream": True})))


def said(text):
    """What the ChatModel said, without what it was given."""
    return text and text.split(" | ")[0]


def streamed(a: Asker, body: dict):
    """The text of a stream that came to its end, or None."""
    request = urllib.request.Request(a.url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    text, ended = "", False
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            for line in reply:
                if not line.startswith(b"data: "):
                    continue
                data = line[6:].strip()
                if data == b"[DONE]":
                    ended = True
                else:
                    text += pick(json.loads(data), "choices", 0, "delta", "content") or ""
    except urllib.error.HTTPError as refusal:
        print(refusal.read().decode())
    return text if ended else None


def lists(a: Asker, binary) -> None:
    print("\nWhat is there?\n")
    a.check("GET /v1/models", [m["id"] for m in pick(a.get("/v1/models"), "data") or []] or None)
    answer = subprocess.run([str(binary), "query", "fillmask", "Snow is [MASK] and cold.", "--url", a.url], capture_output=True, text=True)
    word = pick(json.loads(answer.stdout), "choices", 0, "text") if answer.returncode == 0 else None
    a.check('headrace query fillmask "Snow is [MASK] and cold."', word)
    wrong = a.post("/gateway/fillmask/invocations", {"promt": "x"})
    a.check("a slip in the body", f"{wrong['status']}: {pick(wrong, 'detail', 0, 'msg')} ({pick(wrong, 'detail', 0, 'loc')})" if wrong.get("status") == 422 else None)


def everything(url: str, binary) -> bool:
    a = Asker(url)
    embeddings(a)
    fillmask(a)
    chat(a)
    iris(a)
    assistant(a)
    lists(a, binary)
    print("\neverything answered" if a.good else "\nSOMETHING DID NOT ANSWER: see the lines above", flush=True)
    return a.good

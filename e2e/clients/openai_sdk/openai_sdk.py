"""The Python package openai, good and bad cases.

usage: openai_sdk.py BASE_URL EMBEDDINGS COMPLETIONS CHAT WRONG DOWN

WRONG is an embeddings route over a model that answers texts, DOWN one whose model server is away. Exit status 0 and
"ok: N checks", or 1 and "FAIL: ...".
"""

import sys

base, embeddings, completions, chat, wrong, down = sys.argv[1:]
checks = 0


def check(ok, what) -> None:
    global checks
    checks += 1
    if not ok:
        print(f"FAIL: {what}", file=sys.stderr)
        sys.exit(1)


# docs/clients.md shows the lines between the marks.
# >>> openai (Python)
import openai  # noqa: E402

client = openai.OpenAI(base_url=base + "/v1", api_key="not needed")
vectors = client.embeddings.create(model=embeddings, input=["A headrace leads water", "to the turbines."])
text = client.completions.create(model=completions, prompt=["I like to [MASK] cars!", "We want to [MASK] books."])
answer = client.chat.completions.create(model=chat, messages=[{"role": "user", "content": "A dog is an [MASK]."}])
# <<<

check([len(d.embedding) for d in vectors.data] == [384, 384], vectors)
check([c.index for c in text.choices] == [0, 1] and "[MASK]" not in text.choices[1].text, text)
check(answer.choices[0].message.role == "assistant" and answer.usage.total_tokens is not None, answer)
floats = client.embeddings.create(model=embeddings, input=["A headrace leads water", "to the turbines."], encoding_format="float")
worst = max(abs(a - b) for x, y in zip(vectors.data, floats.data) for a, b in zip(x.embedding, y.embedding))
check(worst < 1e-6, f"base64 and float differ by {worst}")
check(len(client.embeddings.create(model=embeddings, input="Über 東京").data) == 1, "one text")
check(embeddings in [m.id for m in client.models.list()], "the models")
check(client.models.retrieve(chat).object == "model", "one model")
talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A cat is an [MASK]."}]
check(client.chat.completions.create(model=chat, messages=talk).choices[0].message.content, "a conversation")


def raises(kind, call, *parts) -> None:
    try:
        answer = call()
    except kind as problem:
        check(all(p in str(problem) for p in parts), f"want {parts} in: {problem}")
    except Exception as problem:
        check(False, f"want {kind.__name__}, got {type(problem).__name__}: {problem}")
    else:
        check(False, f"want {kind.__name__}, got {answer}")


once = client.with_options(max_retries=0)
raises(openai.NotFoundError, lambda: once.embeddings.create(model="no-such-model", input="x"), "no-such-model")
raises(openai.NotFoundError, lambda: once.models.retrieve("no-such-model"))
raises(openai.BadRequestError, lambda: once.chat.completions.create(model=chat, messages=[]))
raises(openai.BadRequestError, lambda: once.embeddings.create(model=embeddings, input=5), "input")
raises(openai.BadRequestError, lambda: once.chat.completions.create(model=embeddings, messages=talk))
raises(openai.UnprocessableEntityError, lambda: client.embeddings.create(model=wrong, input="A [MASK]."), "422")
raises(openai.InternalServerError, lambda: once.embeddings.create(model=down, input="x"), "503")
whole = "".join(c.choices[0].delta.content or "" for c in once.chat.completions.create(model=chat, messages=talk, stream=True))
assert whole == once.chat.completions.create(model=chat, messages=talk).choices[0].message.content, whole
assert once.responses.create(model=chat, input="A headrace leads [MASK].").output_text

# A durable job: the header makes one of any call, and its result is read in the same dialect.
# >>> a durable job
later = {"Prefer": "respond-async", "Idempotency-Key": "invoice-4711"}
call = {"model": embeddings, "input": "A headrace leads water.", "encoding_format": "float"}
placed = client.embeddings.with_raw_response.create(**call, extra_headers=later)
job = placed.headers["Job-Id"]  # the same call with the same key again gives the same job
result = client.get(f"/jobs/{job}/result?wait=30", cast_to=openai.types.CreateEmbeddingResponse)
# <<<

check(placed.status_code == 202 and placed.headers["preference-applied"] == "respond-async", placed.headers)
check(len(result.data[0].embedding) == 384, result)
again = client.embeddings.with_raw_response.create(**call, extra_headers=later)
check(again.headers["job-id"] == job and again.headers["idempotency-replayed"] == "true", again.headers)
raises(ValueError, lambda: client.embeddings.create(model=embeddings, input="x", extra_headers={"Prefer": "respond-async"}), "No embedding data")
raises(openai.BadRequestError, lambda: once.embeddings.create(model=embeddings, input=[[101, 102]]), "token ids")
raises(openai.BadRequestError, lambda: once.embeddings.create(model=embeddings, input="x", dimensions=64), "384")
check(len(once.embeddings.create(model=embeddings, input="x", dimensions=384).data[0].embedding) == 384, "dimensions that are right")
raises(openai.BadRequestError, lambda: once.chat.completions.create(model=chat, messages=talk, n=3), "n is 3")
done = client.embeddings.create(model=embeddings, input="soon", extra_headers={"Prefer": "wait=30"})
check(len(done.data[0].embedding) == 384, done)
print(f"\nok: {checks} checks")

"""mlflow.deployments of MLflow 3.17.2, good and bad cases.

usage: deployments.py BASE_URL EMBEDDINGS COMPLETIONS CHAT WRONG DOWN LIMITED

WRONG is an embeddings route over a model that answers texts, DOWN one whose model server is away, LIMITED a
completions route of two calls an hour. Exit status 0 and "ok: N checks", or 1 and "FAIL: ...".
"""

import os
import sys

# The client repeats 429 and 503 for four minutes; what it gets is the same each time.
os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_DEPLOYMENT_CLIENT_HTTP_REQUEST_MAX_RETRIES="0")

base, embeddings, completions, chat, wrong, down, limited = sys.argv[1:]
checks = 0


def check(ok, what) -> None:
    global checks
    checks += 1
    if not ok:
        print(f"FAIL: {what}", file=sys.stderr)
        sys.exit(1)


def refused(call, *parts) -> None:
    try:
        answer = call()
    except Exception as problem:  # the client has several kinds
        text = f"{problem} {getattr(getattr(problem, 'response', None), 'text', '')}"
        check(all(p in text for p in parts), f"want {parts} in: {text}")
    else:
        check(False, f"want a refusal, got {answer}")


# docs/clients.md shows the lines between the marks.
# >>> mlflow.deployments
from mlflow.deployments import get_deploy_client  # noqa: E402

client = get_deploy_client(base)
vectors = client.predict(endpoint=embeddings, inputs={"input": ["A headrace leads water", "to the turbines."]})
text = client.predict(endpoint=completions, inputs={"prompt": "I like to [MASK] cars!", "temperature": 0.5})
answer = client.predict(endpoint=chat, inputs={"messages": [{"role": "user", "content": "A dog is an [MASK]."}]})
# <<<

check([len(d["embedding"]) for d in vectors["data"]] == [384, 384], vectors)
check(text["object"] == "text_completion" and "[MASK]" not in text["choices"][0]["text"], text)
check(answer["choices"][0]["message"]["role"] == "assistant", answer)
listed = {e.name: e.endpoint_type for e in client.list_endpoints()}
check(listed[embeddings] == "llm/v1/embeddings" and listed[chat] == "llm/v1/chat", listed)
one = client.get_endpoint(endpoint=embeddings)
check(one.model.provider == "mlflow-model-serving" and one.endpoint_url.endswith(f"/{embeddings}/invocations"), one)
check(len(client.predict(endpoint=embeddings, inputs={"input": "Über 東京"})["data"]) == 1, "one text")

refused(lambda: client.get_endpoint(endpoint="no-such-endpoint"), "404")
refused(lambda: client.predict(endpoint="no-such-endpoint", inputs={"input": "x"}), "404")
refused(lambda: client.predict(endpoint=embeddings, inputs={"text": "x"}), "422")
refused(lambda: client.predict(endpoint=wrong, inputs={"input": "A [MASK]."}), "502")
refused(lambda: client.predict(endpoint=down, inputs={"input": "x"}), "503")
for _ in range(2):
    client.predict(endpoint=limited, inputs={"prompt": "I like to [MASK] cars!"})
refused(lambda: client.predict(endpoint=limited, inputs={"prompt": "I like to [MASK] cars!"}), "429")
print(f"\nok: {checks} checks")

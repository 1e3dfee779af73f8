"""MLflow's guide to served models, with mlflow.gateway of MLflow 2.8.1, and what else that client can do.

usage: guide.py BASE_URL EMBEDDINGS COMPLETIONS INCOMPATIBLE [DOWN LIMITED]

INCOMPATIBLE is an embeddings route whose model server answers in a shape that the type cannot use, DOWN one whose model
server is away, LIMITED a completions route of two calls an hour. Exit status 0 and "ok: N checks", or 1 and "FAIL: ...".
"""

import os
import sys

# The client repeats 502 for a minute; what it gets is the same each time.
os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")

import mlflow  # noqa: E402
from mlflow.gateway import get_route, query, search_routes, set_gateway_uri  # noqa: E402

base, embeddings, completions, incompatible, *others = sys.argv[1:]
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


check(mlflow.__version__ == "2.8.1", f"this is mlflow {mlflow.__version__}")
set_gateway_uri(gateway_uri=base)

# The guide's two queries.
answer = query(route=completions, data={"prompt": "I like to [MASK] cars!"})
text = answer["candidates"][0]["text"]
print("fill-mask:", text)
check(isinstance(text, str) and text and "[MASK]" not in text, f"the gap is not filled: {answer}")
check(answer["metadata"]["route_type"] == "llm/v1/completions", f"metadata: {answer['metadata']}")
answer = query(route=embeddings, data={"text": ["This is an example sentence", "Each sentence is converted"]})
vectors = answer["embeddings"]
print("embeddings:", [len(v) for v in vectors])
check(len(vectors) == 2 and all(len(v) == 384 for v in vectors) and vectors[0] != vectors[1], "the embeddings are wrong")
check(answer["metadata"]["route_type"] == "llm/v1/embeddings", f"metadata: {answer['metadata']}")

# A model server whose answers do not fit shows when it is queried, as 502, not before.
check(get_route(incompatible).name == incompatible, "the incompatible route cannot be described")
refused(lambda: query(route=incompatible, data={"text": ["A [MASK]."]}), "502")

# Descriptions.
route = get_route(embeddings)
check(route.route_type == "llm/v1/embeddings" and route.model.provider == "mlflow-model-serving", f"route: {route}")
check(route.route_url == f"{base}/gateway/{embeddings}/invocations", f"route_url: {route.route_url}")
names = [r.name for r in search_routes()]
check({embeddings, completions, incompatible} <= set(names), f"listed: {names}")

# Mistakes.
refused(lambda: get_route("no-such-route"), "404", "no-such-route")
refused(lambda: query(route="no-such-route", data={"text": "x"}), "404")
refused(lambda: query(route=completions, data={"text": "x"}), "422")
if others:
    down, limited = others
    refused(lambda: query(route=down, data={"text": "x"}), "503")
    for _ in range(2):
        query(route=limited, data={"prompt": "I like to [MASK] cars!"})
    refused(lambda: query(route=limited, data={"prompt": "I like to [MASK] cars!"}), "429", "Rate limit exceeded: 2 per 1 hour")
print(f"ok: {checks} checks")

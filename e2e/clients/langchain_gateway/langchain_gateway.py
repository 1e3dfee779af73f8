"""LangChain's older classes, MlflowAIGateway and its like, over mlflow.gateway of MLflow 2.8.1, good and bad cases.

usage: langchain_gateway.py BASE_URL EMBEDDINGS COMPLETIONS CHAT WRONG DOWN LIMITED

WRONG is an embeddings route over a model that answers texts, DOWN one whose model server is away, LIMITED a
completions route of two calls an hour. Exit status 0 and "ok: N checks", or 1 and "FAIL: ...".
"""

import os
import sys
import warnings

warnings.filterwarnings("ignore")
# The client repeats 429, 502 and 503 for a minute; what it gets is the same each time.
os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")

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
# >>> LangChain, the classes before MLflow 2.9
from langchain_community.chat_models import ChatMLflowAIGateway  # noqa: E402
from langchain_community.embeddings import MlflowAIGatewayEmbeddings  # noqa: E402
from langchain_community.llms import MlflowAIGateway  # noqa: E402

vectors = MlflowAIGatewayEmbeddings(gateway_uri=base, route=embeddings).embed_documents(["one", "two"])
text = MlflowAIGateway(gateway_uri=base, route=completions, params={"temperature": 0.1}).invoke("I like to [MASK] cars!")
answer = ChatMLflowAIGateway(gateway_uri=base, route=chat, params={"temperature": 0.1}).invoke("A dog is an [MASK].")
# <<<

check([len(v) for v in vectors] == [384, 384], "two vectors")
check(text and "[MASK]" not in text, text)
check(answer.type == "ai" and answer.content and "[MASK]" not in answer.content, answer)
check(MlflowAIGateway(gateway_uri=base, route=completions).invoke("A cat is an [MASK]."), "no parameters")
many = MlflowAIGatewayEmbeddings(gateway_uri=base, route=embeddings).embed_documents([f"text {i}" for i in range(25)])
check(len(many) == 25 and len(MlflowAIGatewayEmbeddings(gateway_uri=base, route=embeddings).embed_query("one")) == 384, "25 vectors and one")

refused(lambda: MlflowAIGateway(gateway_uri=base, route="no-such-route").invoke("x"), "404")
refused(lambda: MlflowAIGateway(gateway_uri=base, route=embeddings).invoke("x"), "422")
refused(lambda: MlflowAIGatewayEmbeddings(gateway_uri=base, route=wrong).embed_query("A [MASK]."), "502")
refused(lambda: MlflowAIGatewayEmbeddings(gateway_uri=base, route=down).embed_query("x"), "503")
for _ in range(2):
    MlflowAIGateway(gateway_uri=base, route=limited).invoke("I like to [MASK] cars!")
refused(lambda: MlflowAIGateway(gateway_uri=base, route=limited).invoke("I like to [MASK] cars!"), "429")
print(f"\nok: {checks} checks")

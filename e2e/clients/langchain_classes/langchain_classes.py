"""LangChain's classes for MLflow and for OpenAI, good and bad cases.

usage: langchain_classes.py BASE_URL EMBEDDINGS COMPLETIONS CHAT WRONG DOWN LIMITED

WRONG is an embeddings route over a model that answers texts, DOWN one whose model server is away, LIMITED a
completions route of two calls an hour. Exit status 0 and "ok: N checks", or 1 and "FAIL: ...".
"""

import os
import sys
import warnings

warnings.filterwarnings("ignore")
# The clients repeat 429, 502 and 503 for minutes; what they get is the same each time.
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
    except Exception as problem:  # the clients have several kinds
        text = f"{type(problem).__name__}: {problem} {getattr(getattr(problem, 'response', None), 'text', '')}"
        check(all(p in text for p in parts), f"want {parts} in: {text}")
    else:
        check(False, f"want a refusal, got {answer}")


# docs/clients.md shows the lines between the marks.
# >>> LangChain, MLflow's classes
from langchain_community.chat_models import ChatMlflow  # noqa: E402
from langchain_community.embeddings import MlflowEmbeddings  # noqa: E402
from langchain_community.llms import Mlflow  # noqa: E402

vectors = MlflowEmbeddings(target_uri=base, endpoint=embeddings).embed_documents(["one", "two"])
text = Mlflow(target_uri=base, endpoint=completions).invoke("I like to [MASK] cars!")
answer = ChatMlflow(target_uri=base, endpoint=chat).invoke("A dog is an [MASK].")
# <<<

check([len(v) for v in vectors] == [384, 384], "two vectors")
check("[MASK]" not in text and text, text)
check(answer.type == "ai" and answer.content, answer)
many = MlflowEmbeddings(target_uri=base, endpoint=embeddings).embed_documents([f"text {i}" for i in range(25)])
check(len(many) == 25, "25 vectors")
stopped = Mlflow(target_uri=base, endpoint=completions, temperature=0.1, max_tokens=20, stop=["\n"])
check("[MASK]" not in stopped.invoke("I like to [MASK] cars!"), "parameters")

refused(lambda: Mlflow(target_uri=base, endpoint="no-such-endpoint").invoke("x"), "404")
refused(lambda: Mlflow(target_uri=base, endpoint=embeddings).invoke("x"), "422")
refused(lambda: ChatMlflow(target_uri=base, endpoint=chat).invoke([("system", "Be brief."), ("human", "A [MASK].")]), "422")
refused(lambda: MlflowEmbeddings(target_uri=base, endpoint=wrong).embed_query("A [MASK]."), "502")
refused(lambda: MlflowEmbeddings(target_uri=base, endpoint=down).embed_query("x"), "503")
for _ in range(2):
    Mlflow(target_uri=base, endpoint=limited).invoke("I like to [MASK] cars!")
refused(lambda: Mlflow(target_uri=base, endpoint=limited).invoke("I like to [MASK] cars!"), "429")

# >>> LangChain, OpenAI's classes
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings  # noqa: E402

door = {"base_url": base + "/v1", "api_key": "not needed"}
vectors = OpenAIEmbeddings(model=embeddings, check_embedding_ctx_length=False, **door).embed_documents(["one", "two"])
text = OpenAI(model=completions, **door).invoke("I like to [MASK] cars!")
answer = ChatOpenAI(model=chat, **door).invoke("A dog is an [MASK].")
# <<<

check([len(v) for v in vectors] == [384, 384], "two vectors")
check("[MASK]" not in text and text, text)
check(answer.content and answer.usage_metadata["total_tokens"] is not None, answer)
talk = ChatOpenAI(model=chat, **door).invoke([("system", "Be brief."), ("human", "A cat is an [MASK].")])
check(talk.content, "a conversation")

once = {"max_retries": 0, **door}
refused(lambda: ChatOpenAI(model="no-such-model", **once).invoke("x"), "404", "no-such-model")
refused(lambda: ChatOpenAI(model=embeddings, **once).invoke("x"), "400", "not a chat endpoint")
refused(lambda: OpenAIEmbeddings(model=wrong, check_embedding_ctx_length=False, **once).embed_query("A [MASK]."), "422")
refused(lambda: OpenAIEmbeddings(model=down, check_embedding_ctx_length=False, **once).embed_query("x"), "503")
print(f"\nok: {checks} checks")

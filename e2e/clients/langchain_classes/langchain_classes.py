"""LangChain's classes for MLflow and for OpenAI.

usage: langchain_classes.py BASE_URL EMBEDDINGS COMPLETIONS CHAT

Exit status 0 and "ok: N checks", or 1 and "FAIL: ...".
"""

import os
import sys
import warnings

warnings.filterwarnings("ignore")
os.environ.update(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
base, embeddings, completions, chat = sys.argv[1:]
checks = 0


def check(ok, what) -> None:
    global checks
    checks += 1
    if not ok:
        print(f"FAIL: {what}", file=sys.stderr)
        sys.exit(1)


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
try:
    ChatOpenAI(model="no-such-model", max_retries=0, **door).invoke("x")
except Exception as problem:
    check("no-such-model" in str(problem), problem)
else:
    check(False, "an unknown model answers")
print(f"\nok: {checks} checks")

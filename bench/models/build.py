"""Makes the models that only the benchmark needs: a decision tree, a random forest, and a model that waits.

usage: build.py DIRECTORY

Each is saved once; a change of this script makes all of them again. Nothing is downloaded.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")

import mlflow  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402


class Waiter(mlflow.pyfunc.PythonModel):
    """Waits a second for each text, as a model does that asks a remote LLM."""

    def predict(self, context, model_input: list[str], params=None) -> list[str]:
        import time

        answers = []
        for text in model_input:
            time.sleep(1)
            answers.append("you said: " + text)
        return answers


def sklearn(model, path: str) -> None:
    data = load_iris(as_frame=True)
    model.fit(data.data, data.target)
    signature = mlflow.models.infer_signature(data.data, model.predict(data.data))
    mlflow.sklearn.save_model(model, path, signature=signature, pip_requirements=["scikit-learn"],
                              skops_trusted_types=["sklearn.tree._tree.Tree"])


MAKERS = {
    "tree": lambda path: sklearn(DecisionTreeClassifier(random_state=7), path),
    "forest": lambda path: sklearn(RandomForestClassifier(n_estimators=100, random_state=7), path),
    "waiter": lambda path: mlflow.pyfunc.save_model(path, python_model=Waiter(), pip_requirements=[]),
}


def main() -> None:
    root = Path(sys.argv[1])
    root.mkdir(parents=True, exist_ok=True)
    stamp = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    for name, make in MAKERS.items():
        done = root / f"{name}.stamp"
        if done.exists() and done.read_text() == stamp:
            continue
        shutil.rmtree(root / name, ignore_errors=True)
        make(str(root / name))
        done.write_text(stamp)


if __name__ == "__main__":
    main()

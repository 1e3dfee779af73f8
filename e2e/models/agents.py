"""Saves a ChatModel, a ChatAgent and a ResponsesAgent that work without an LLM.

usage: agents.py DIRECTORY

They are models from code: the scripts beside this one are copied into them. Each is saved once; a change of its script makes it again.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
HERE = Path(__file__).parent


def main() -> None:
    root = Path(sys.argv[1]).resolve()
    root.mkdir(parents=True, exist_ok=True)
    os.chdir(root)  # MLflow leaves its database where it runs
    for name in ["chat_model", "chat_agent", "responses_agent"]:
        script, done = HERE / f"{name}.py", root / f"{name}.stamp"
        stamp = hashlib.sha256(script.read_bytes()).hexdigest()
        if done.exists() and done.read_text() == stamp:
            continue
        import logging
        import warnings

        import mlflow

        # What MLflow warns of, a newer kind of model and a missing pip, does not concern a model that is saved with its code.
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", category=FutureWarning)
        print(f"making the model {name}", file=sys.stderr, flush=True)
        done.unlink(missing_ok=True)
        shutil.rmtree(root / name, ignore_errors=True)
        mlflow.pyfunc.save_model(str(root / name), python_model=str(script), pip_requirements=[])
        done.write_text(stamp)


if __name__ == "__main__":
    main()

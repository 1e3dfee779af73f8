"""Serves the demo's models with `mlflow models serve`, until it is told to stop; leaves nothing behind.

usage: serve.py MODELS_DIRECTORY LOG_DIRECTORY [NAME=PORT]...

Prints "serving" when all of them answer. Runs under the Python that has MLflow.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

PORTS = {"embeddings": 9020, "fillmask": 9010, "iris": 9030}


class Servers:
    """The model servers, each in a process group of its own: uvicorn is a child of mlflow's command."""

    def __init__(self, models: Path, logs: Path, ports: dict):
        logs.mkdir(parents=True, exist_ok=True)
        env = dict(os.environ, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", MLFLOW_DISABLE_TELEMETRY="true",
                   DO_NOT_TRACK="true", PATH=os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])
        self.ports, self.logs, self.children = ports, logs, {}
        for name, port in ports.items():
            with open(logs / f"{name}.log", "wb") as log:
                self.children[name] = subprocess.Popen(
                    [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(models.resolve() / name), "-h", "127.0.0.1",
                     "-p", str(port), "--env-manager", "local"],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=env, start_new_session=True,
                    cwd=logs)  # the traces of agents leave a database where they run

    def wait(self, seconds: float = 300) -> None:
        """Returns when all answer; raises when one has ended or takes too long."""
        deadline = time.monotonic() + seconds
        for name, port in self.ports.items():
            while not answers(port):
                if self.children[name].poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the model server {name} does not answer on port {port}:\n"
                                       + (self.logs / f"{name}.log").read_text(errors="replace")[-3000:])
                time.sleep(0.1)

    def stop(self) -> None:
        for child in self.children.values():
            signal_group(child, signal.SIGTERM)
        for child in self.children.values():
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                pass
            signal_group(child, signal.SIGKILL)  # whatever is left of the group
            child.wait()


def signal_group(child: subprocess.Popen, number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False


def stop_on_signals() -> None:
    def stop(number, _frame):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)


def main() -> None:
    stop_on_signals()
    ports = dict(PORTS)
    if len(sys.argv) > 3:
        ports = {name: int(port) for name, port in (a.split("=") for a in sys.argv[3:])}
    servers = Servers(Path(sys.argv[1]), Path(sys.argv[2]), ports)
    try:
        servers.wait()
        print("serving", flush=True)
        sys.stdin.read()  # until the process that started this one has gone
    finally:
        servers.stop()


if __name__ == "__main__":
    main()

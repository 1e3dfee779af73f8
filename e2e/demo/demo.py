"""Serves the models, starts Headrace, asks everything once, and keeps running until Ctrl-C."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "e2e" / "models"), str(ROOT / "e2e" / "demo")]

import ask  # noqa: E402
import serve  # noqa: E402

URL = "http://127.0.0.1:5000"
AGENTS = {"chat_model": 9040}


def start_headrace(data: str) -> subprocess.Popen:
    config = Path(data) / "gateway.toml"
    text = (ROOT / "e2e" / "demo" / "gateway.toml").read_text()
    config.write_text(text + f"\n[broker]\ndata_dir = {str(Path(data) / 'nats')!r}\n")
    with open(ROOT / ".cache" / "logs" / "headrace.log", "wb") as log:
        child = subprocess.Popen([str(ROOT / "bin" / "headrace"), "up", "--config", str(config)], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
    for _ in range(200):
        if child.poll() is not None:
            break
        try:
            with urllib.request.urlopen(URL + "/readyz", timeout=2):
                return child
        except OSError:
            time.sleep(0.05)
    stop_headrace(child)
    raise RuntimeError("Headrace did not start:\n" + (ROOT / ".cache/logs/headrace.log").read_text()[-3000:])


def stop_headrace(child: subprocess.Popen) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(35)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def main() -> int:
    serve.stop_on_signals()
    for port in [5000, *serve.PORTS.values(), *AGENTS.values()]:
        if taken(port):
            print(f"port {port} is in use: stop what listens there first", file=sys.stderr)
            return 1
    print("starting four MLflow model servers (about half a minute)", flush=True)
    logs = ROOT / ".cache" / "logs"
    servers = serve.Servers(ROOT / ".cache" / "models", logs, serve.PORTS)
    agents = serve.Servers(ROOT / ".cache" / "agents", logs, AGENTS)
    headrace = None
    with tempfile.TemporaryDirectory(prefix="headrace-demo-") as data:
        try:
            servers.wait()
            agents.wait()
            headrace = start_headrace(data)
            good = ask.everything(URL, ROOT / "bin" / "headrace")
            if os.environ.get("DEMO_ONCE"):
                return 0 if good else 1
            print(f"\nHeadrace keeps running at {URL} (try {URL}/docs). Ctrl-C ends it.", flush=True)
            headrace.wait()
            return 1
        except RuntimeError as problem:
            print(problem, file=sys.stderr)
            return 1
        finally:
            if headrace is not None:
                stop_headrace(headrace)
            servers.stop()
            agents.stop()


def taken(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SystemExit as end:  # Ctrl-C after the answers is the normal end
        if end.code == 128 + signal.SIGINT:
            print("\nstopped; nothing is left running")
            sys.exit(0)
        raise

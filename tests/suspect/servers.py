"""Servers that nobody here wrote, each in a virtual environment and a process group of its own, on loopback.

`mlserver` is a fixture; a test module uses it after ``from tests.suspect.servers import mlserver  # noqa: F401``, or by
a conftest that does. Where ``ONNXFP_REQUIRE_SERVERS`` is set, a server that is not installed fails the test.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_READY_S = 120.0
_TRIES = 3


@dataclass(frozen=True)
class Served:
    """A running server with one model ``m``."""

    process: subprocess.Popen[bytes]
    http: int
    grpc: int

    def url(self, scheme: str) -> str:
        return f"{scheme}://127.0.0.1:{self.http if scheme == 'http' else self.grpc}/v2/models/m"


def interpreter(name: str) -> Path:
    """The python of a server's environment, or a skip that no build server gets away with."""
    python = ROOT / f".venv-{name}" / "bin" / "python"
    if not python.exists():
        reason = f"{name} is not installed; `make .venv-{name}/stamp` does it"
        if os.environ.get("ONNXFP_REQUIRE_SERVERS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return python


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def serving(start: Callable[[int, int, int], list[str]], folder: Path, modules: Path) -> Iterator[Served]:
    """Run a server; `start` gets three ports and returns its command line."""
    process = None
    try:
        for _ in range(_TRIES):  # somebody else may take a port between finding and binding it
            ports = free_ports(3)
            process = launched(start(*ports), folder, modules)
            served = Served(process, *ports[:2])
            if is_ready(served):
                break
            stop(process)
        else:
            pytest.fail(f"the server did not start: {(folder / 'log.txt').read_text()[-2000:]}")
        yield served
    finally:
        if process is not None:
            stop(process)


def launched(command: list[str], folder: Path, modules: Path) -> subprocess.Popen[bytes]:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(modules),
        "ORT_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
    }
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)


def is_ready(served: Served) -> bool:
    until = time.monotonic() + _READY_S
    while served.process.poll() is None and time.monotonic() < until:
        asking = http.client.HTTPConnection("127.0.0.1", served.http, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(asking):
            asking.request("GET", "/v2/models/m/ready")
            if asking.getresponse().status == 200:
                return True
        time.sleep(0.1)
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole group, the leader's children too."""
    for how, patience_s in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    assert process.poll() is not None


@pytest.fixture(scope="session")
def mlserver(tmp_path_factory) -> Iterator[Callable[..., str]]:
    """``mlserver(path, scheme="http")`` serves an ONNX model for the rest of the session and returns its URL."""
    with contextlib.ExitStack() as stack:
        running: dict[Path, Served] = {}

        def serve(path: Path, scheme: str = "http") -> str:
            if path not in running:
                folder = tmp_path_factory.mktemp("mlserver")
                command = [str(interpreter("mlserver").with_name("mlserver")), "start", str(folder)]
                start = settings(folder, path, command)
                running[path] = stack.enter_context(serving(start, folder, ROOT / "tests" / "servers" / "mlserver"))
            return running[path].url(scheme)

        yield serve


def settings(folder: Path, path: Path, command: list[str]) -> Callable[[int, int, int], list[str]]:
    """Write what the server reads when it starts."""
    model = {"name": "m", "implementation": "onnx_rt.OnnxModel", "parameters": {"uri": str(path.resolve())}}
    (folder / "m").mkdir()
    (folder / "m" / "model-settings.json").write_text(json.dumps(model))

    def start(*ports_free: int) -> list[str]:
        ports = dict(zip(("http_port", "grpc_port", "metrics_port"), ports_free, strict=True))
        (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0} | ports))
        return command

    return start

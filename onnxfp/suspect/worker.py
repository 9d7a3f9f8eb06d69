"""A child process from the parent's side: started in a clean environment, watched, and believed nothing unchecked."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import onnxfp
from onnxfp.errors import UsageError
from onnxfp.suspect.channel import Arrays, Channel, Garbled, TooLarge, open_channel, shared_memory

_START = "import sys; sys.path += sys.argv[2:]; from onnxfp.suspect.child import main; main(sys.argv[1])"
_KEPT = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")
"""What the child learns of the environment: where its libraries are, and which accelerators it may use."""
_FRESH = {
    "ORT_DISABLE_TELEMETRY": "1",
    "CUDA_CACHE_DISABLE": "1",
    "OPENBLAS_NUM_THREADS": "1",  # numpy only copies there
    "HOME": os.devnull,
    "LC_ALL": "C.UTF-8",
}
_LOOK = 0.1
"""Seconds between two looks at the memory in use."""
Reply = tuple[dict[str, Any], Sequence[Any]]


class Lost(Exception):
    """The child can no longer be asked; the message says what became of it."""


@final
class Worker:
    """A child process that answers one message after another; `start_worker` makes one. Not for two threads at once."""

    def __init__(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        self._process = process
        self._channel = channel
        self._lost = ""
        self._end = weakref.finalize(self, _kill, process)

    def ask(self, message: Mapping[str, Any], arrays: Arrays = (), *, seconds: float, resident: int = 0) -> Reply:
        """Send a message and wait for the answer.

        Args:
            message: what is asked.
            arrays: what goes with it.
            seconds: after so many the child is killed.
            resident: likewise once it uses more than so many bytes of memory; 0 for any number.

        Raises:
            Lost: there is no answer, and none to come.
            TooLarge: the question does not fit; nothing was sent.
        """
        if self._lost:
            raise Lost(self._lost)
        watch = _Watch(self._process, seconds, resident)
        try:
            self._channel.send(message, arrays)
            reply = self._channel.receive()
        except TooLarge:
            raise
        except (OSError, EOFError, Garbled) as problem:
            self.close(watch.stop() or _how_it_ended(self._process, problem))
            raise Lost(self._lost) from problem
        except BaseException:  # the answer to a question that was interrupted must not be taken for the next one's
            self.close("it was interrupted")
            raise
        finally:
            reason = watch.stop()
        if reason:
            self.close(reason)
            raise Lost(self._lost)
        return reply

    def close(self, reason: str = "it was closed") -> None:
        """End the child; from now on the reason is the answer to every question."""
        self._lost = self._lost or reason
        self._end()


def start_worker() -> Worker:
    """Start a child that waits for its first message.

    Raises:
        UsageError: there is no onnxruntime, or no Python to start.
    """
    if not sys.executable:
        raise UsageError("running a model needs a Python interpreter to start; sys.executable names none")
    shared = shared_memory()
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", "-S", "-c", _START, "" if shared is None else str(shared), *_places()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd=Path(sys.executable).anchor,
        env=_FRESH | {name: os.environ[name] for name in _KEPT if name in os.environ},
        pass_fds=() if shared is None else (shared,),
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        return Worker(process, open_channel(process.stdout.fileno(), process.stdin.fileno(), shared, parent=True))
    finally:
        if shared is not None:
            os.close(shared)


def _places() -> list[str]:
    """Return the folders in which the child finds what it imports; its own `site` is not run."""
    places = []
    for name in ("numpy", "onnxruntime"):
        found = importlib.util.find_spec(name)
        if found is None or not found.origin:
            raise UsageError("running a model needs onnxruntime; install `onnxfp[runtime]`")
        places.append(str(Path(found.origin).resolve().parent.parent))
    places.append(str(Path(onnxfp.__file__).resolve().parent.parent))
    return list(dict.fromkeys(places))


@final
class _Watch:
    """A thread that kills a process which takes too long or too much."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float, resident: int) -> None:
        self._process, self._seconds, self._resident = process, seconds, resident
        self._reason = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="onnxfp-watch", daemon=True)
        self._thread.start()

    def stop(self) -> str:
        """End the watch; return why the process was killed, or nothing."""
        self._over.set()
        self._thread.join()
        return self._reason

    def _look(self) -> None:
        end = time.monotonic() + self._seconds
        while not self._over.wait(max(0.0, min(end - time.monotonic(), _LOOK if self._resident else self._seconds))):
            if time.monotonic() >= end:
                self._reason = f"it did not answer within {self._seconds:g} s"
            elif self._resident and _resident(self._process.pid) > self._resident:
                self._reason = f"it used more than {self._resident >> 20} MiB of memory"
            if self._reason:
                _signal_group(self._process)
                return


def _resident(process: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _how_it_ended(process: subprocess.Popen[bytes], problem: Exception) -> str:
    if isinstance(problem, Garbled):
        return f"the process that ran it sent {problem}"
    with suppress(subprocess.TimeoutExpired):
        status = process.wait(0.5)
        if status < 0:
            return f"the process that ran it was ended by {_signal_name(-status)}"
        return f"the process that ran it ended with status {status}"
    return "the process that ran it fell silent"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _signal_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:  # nobody has its number any more, or somebody else
        return
    with suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _kill(process: subprocess.Popen[bytes]) -> None:
    _signal_group(process)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()

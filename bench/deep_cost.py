"""What it costs to issue a copy and to read one, beside the bare work that cannot be avoided.

    python -m bench.deep_cost

Issuing is the command line in a process of its own, with start-up; its memory is the most that it and the process that
runs the copy had together at any one time at most. Reading is in a process that has everything imported. Both sides of
a ratio alternate, with all files in the page cache; medians.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.deep_marked import CALLED, subject
from bench.deep_read import Judge
from bench.results import kept, markdown
from bench.taught import AT, Subject
from onnxfp.artifact import open_artifact, resolve
from onnxfp.suspect.opened import OpenedWeights
from onnxfp.workflows.issue import Issuing, issue
from onnxfp.workflows.judge import read_channels

MEASURED = (("lenet", 0), ("wide", 0))
REPEATS = 5
NAMES = CALLED | {"wide": "dense, 10 million weights"}
LIMITS = (5.0, 1.0)  # seconds and GB, of issuing a copy of ten million weights


def measure(one: Subject) -> dict[str, Any]:
    """Issue and read one model's copies."""
    return dict(kept(f"deeptrace-cost-{one.folder.name}", lambda: _measured(one)))


def _measured(one: Subject) -> dict[str, Any]:
    one.marked  # noqa: B018
    with TemporaryDirectory() as text:
        folder = Path(text)
        rounds = [_issued(one, folder, number) for number in range(REPEATS)]
        with one.vault() as vault:
            issue(vault, Issuing(one.marked, "read", folder / "read.onnx", AT))
        return {"bytes": one.marked.stat().st_size, "issue": rounds, "read": _reading(one, folder / "read.onnx")}


def _issued(one: Subject, folder: Path, number: int) -> dict[str, float]:
    target = folder / f"{number}.onnx"
    program = Path(sys.executable).with_name("onnxfp")
    command = [str(program), "--vault", str(one.folder / "vault"), "issue", str(one.marked)]
    began = time.monotonic()
    watcher = subprocess.Popen([*command, "--to", f"cost {number}", "-o", str(target)], stderr=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)  # fmt: skip
    memory = _most_memory(watcher)
    seconds = time.monotonic() - began
    if watcher.returncode:
        raise RuntimeError(f"issuing ended with status {watcher.returncode}")
    began = time.monotonic()
    shutil.copyfile(one.marked, folder / "plain.onnx")
    return {"seconds": seconds, "bytes": memory, "cp": time.monotonic() - began}


def _most_memory(process: subprocess.Popen[bytes]) -> float:
    """Watch a process and its children until it ends; return their most resident bytes together."""
    most = 0
    while process.poll() is None:
        most = max(most, sum(map(_resident, _family(process.pid))))
        time.sleep(0.01)
    return float(most)


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(member for child in children for member in _family(int(child)))]


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _reading(one: Subject, path: Path) -> dict[str, float]:
    judge = Judge.of(one)
    return {
        "ours": _median(lambda: _read(judge, path)),
        "load": _median(lambda: _load(path)),
        "bytes": _median(lambda: (path.read_bytes(), one.marked.read_bytes())),
    }


def _read(judge: Judge, path: Path) -> None:
    with ExitStack() as opened:
        suspect, reference = (opened.enter_context(open_artifact(file)) for file in (path, judge.subject.marked))
        tensors = resolve(judge.reference.profile.carriers, suspect, judge.reference.sketch)
        read_channels([judge.channels["weights"]], OpenedWeights(suspect, reference, tensors))


def _load(path: Path) -> None:
    import onnxruntime as ort

    ort.InferenceSession(path, providers=["CPUExecutionProvider"])


def _median(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.monotonic()
        work()
        seconds.append(time.monotonic() - began)
    return statistics.median(seconds[1:])  # the first warms up


def table(*, whole: bool) -> str:
    """One row per model."""
    header = (
        "model", "issue a copy (command line)", "memory", "limit", "cp", "read the weights' word",
        "load the model (onnxruntime)", "read both files", "reading over loading",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for task, seed in MEASURED:
        one = subject(task, seed)
        if not whole and not (one.folder / "made.json").exists():
            continue
        run = measure(one)
        seconds, memory, copied = (
            statistics.median(r[key] for r in run["issue"]) for key in ("seconds", "bytes", "cp")
        )
        read = run["read"]
        met = "met" if seconds <= LIMITS[0] and memory <= LIMITS[1] * 1e9 else "**missed**"
        rows.append(
            (
                f"{NAMES[task]} ({run['bytes'] / 1e6:.1f} MB)",
                f"{seconds:.2f} s",
                f"{memory / 1e6:.0f} MB",
                f"{LIMITS[0]:.0f} s, {LIMITS[1]:.0f} GB: {met}",
                f"{1000 * copied:.0f} ms",
                f"{1000 * read['ours']:.0f} ms",
                f"{1000 * read['load']:.0f} ms",
                f"{1000 * read['bytes']:.0f} ms",
                f"{read['ours'] / read['load']:.1f}",
            )
        )
    return markdown(header, rows)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(table(whole=True))

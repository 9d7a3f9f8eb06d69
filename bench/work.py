"""The work that ``bench.cost`` times, one job per fresh process: ``python -m bench.work JOB ARGUMENTS`` prints JSON.

Every job first marks a small model, so that all that is imported late has been imported before the clock starts.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.marked import Marked, mark, now
from onnxfp.artifact import open_artifact, resolve
from onnxfp.codes.words import BLOCK
from onnxfp.demo import path as demo_file
from onnxfp.keys.keystream import Keystream
from onnxfp.projections.chips import STRATA
from onnxfp.suspect.opened import OpenedWeights
from onnxfp.verdict.channels import Copies
from onnxfp.verdict.trace import trace
from onnxfp.workflows.channels import RECIPIENT, DrawnChannel
from onnxfp.workflows.inspect import inspect
from onnxfp.workflows.issue import Issuing, issue
from onnxfp.workflows.judge import Question, read_channels
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.register import Registration, register
from onnxfp.workflows.trace import trace_file
from onnxfp.workflows.vault import create_vault, open_vault

REPEATS = 5
_SIDE = 4096  # of one MatMul's matrix: 64 MiB
_GB = 1 << 30
_CHUNK = 1 << 14  # weights whose memberships are drawn at a time: what stays in the cache is faster than one long draw


def synthetic(folder: str, size: str, place: str) -> None:
    """Write a stack of square MatMuls with so many GB of normal weights, ``inline`` or ``external``."""
    from onnx import TensorProto, helper, numpy_helper, save_model

    Path(folder).mkdir(parents=True)
    rng, layers = np.random.default_rng(0), round(float(size) * _GB / (4 * _SIDE**2))
    tensors = [
        numpy_helper.from_array(rng.standard_normal((_SIDE, _SIDE), dtype=np.float32) / 64, f"weight{layer}")
        for layer in range(layers)
    ]
    nodes = [helper.make_node("MatMul", [f"x{at}", f"weight{at}"], [f"x{at + 1}"]) for at in range(layers)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", _SIDE]) for name in ("x0", f"x{layers}")]
    graph = helper.make_graph(nodes, "stack", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    external = place == "external"
    save_model(model, Path(folder) / "model.onnx", save_as_external_data=external, location="model.data")
    os.sync()


def issuing(marked: str, model: str, recipient: str, output: str) -> dict[str, float]:
    """Issue a copy of a registered model."""
    with open_vault(Path(marked) / "vault", None) as vault:
        seconds = _timed(lambda: issue(vault, Issuing(Path(model), recipient, Path(output), now())))
    return {"seconds": seconds, "peak": _peak()}


def plain(model: str, output: str) -> dict[str, float]:
    """What one would do without us: load the model, change every weight a little, save it."""
    import onnx
    from onnx import numpy_helper

    def change() -> None:
        loaded = onnx.load(model)
        for tensor in loaded.graph.initializer:
            changed = numpy_helper.to_array(tensor) * np.float32(1.0001)
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
        onnx.save(loaded, output)
        with open(output, "rb") as file:
            os.fsync(file.fileno())

    return {"seconds": _timed(change), "peak": _peak()}


def whole(model: str) -> dict[str, float]:
    """What reads every byte: hashing the file, inspecting, registering (which also copies it into the vault)."""
    path = Path(model)
    with TemporaryDirectory(prefix="onnxfp-bench-", dir=path.parents[1]) as name:
        create_vault(Path(name) / "vault", None)
        with open_vault(Path(name) / "vault", None) as vault:
            return {
                "sha256": _timed(lambda: [_sha256(file) for file in sorted(path.parent.iterdir())]),
                "inspect": _timed(lambda: inspect(path)),
                "register": _timed(lambda: register(vault, Registration(path, "spread", {}, now()))),
                "peak": _peak(),
            }


def reading(marked: str, model: str) -> list[dict[str, float]]:
    """Read a suspect for a trace and for owner and recipients together, beside the bare pass over the same blocks."""
    with open_vault(Path(marked) / "vault", None) as vault:
        reference = Reference.of_entry(vault, vault.ledger.references()[0])
        channels = reference.drawn(vault)
    copies = [channel for channel in channels if channel.channel.role == RECIPIENT]
    with open_artifact(Marked(Path(marked)).copy) as suspect, open_artifact(Path(model)) as original:

        def read(wanted: list[DrawnChannel]) -> None:
            tensors = resolve(reference.profile.carriers, suspect, reference.sketch)
            read_channels(tuple(wanted), OpenedWeights(suspect, original, tensors))

        def bare(wanted: list[DrawnChannel], *, multiply: bool) -> None:
            difference = _differences(OpenedWeights(suspect, original, {}), wanted[0])
            for channel in wanted:
                if multiply:
                    channel.public.key.chips.apply(difference)  # draws the keystream, too
                else:
                    _membership(channel)

        rounds = []
        for _ in range(1 + REPEATS):
            for role, wanted in {"trace": copies, "both": list(channels)}.items():
                ours = _timed(lambda wanted=wanted: read(wanted))
                stream = _timed(lambda wanted=wanted: bare(wanted, multiply=False))
                product = _timed(lambda wanted=wanted: bare(wanted, multiply=True))
                rounds.append({"role": role, "ours": ours, "keystream": stream, "multiplied": product})
    return rounds[2:]  # the first round warms up


def weighing(marked: str, recipients: str) -> dict[str, Any]:
    """Weigh that many words, beside generating their keystream alone."""
    count = int(recipients)
    folder = Marked(Path(marked))
    look = folder.looks(folder.copy)[RECIPIENT]
    before, rounds = _peak(), []
    for _ in range(1 if count > 100_000 else REPEATS):
        weighed = _timed(lambda: trace([Copies((look,))], (f"r{number}" for number in range(count)), count, 1e-6))
        drawn = _timed(lambda: _drawn(count, look.codebook.positions))
        rounds.append({"ours": weighed, "keystream": drawn, "positions": look.codebook.positions})
    return {"rounds": rounds, "before": before, "peak": _peak()}


def ledger(recipients: str) -> dict[str, Any]:
    """Issue and trace when the ledger has that many recipients already."""
    model, rounds = Path(demo_file("digits.onnx")), []
    with TemporaryDirectory(prefix="onnxfp-bench-") as name:
        marked = mark(model, Path(name) / "marked", "r0")
        with open_vault(marked.folder / "vault", None) as vault:
            reference = vault.ledger.references()[0].reference
            for number in range(1, int(recipients)):
                vault.ledger.reserve(reference, f"r{number}", now())
            for number in range(REPEATS):
                copy = Path(name) / f"copy{number}.onnx"
                issued = _timed(lambda n=number, copy=copy: issue(vault, Issuing(model, f"r{n}", copy, now())))
                question = Question(copy, 1e-6, now())
                traced = _timed(lambda question=question: trace_file(vault, question, lambda step: None))
                rounds.append({"issue": issued, "trace": traced})
    return {"rounds": rounds, "peak": _peak()}


def _differences(opened: OpenedWeights, channel: DrawnChannel) -> np.ndarray:
    """Read the used blocks of suspect and reference, and subtract."""
    parts = []
    for segment in channel.public.key.segments:
        mine, theirs = (
            artifact.read(artifact.tensor(segment.carrier), segment.start, segment.stop)
            for artifact in (opened.suspect, opened.reference)
        )
        parts.append(mine - theirs)
    return np.concatenate(parts)


def _membership(channel: DrawnChannel) -> None:
    """Generate the keystream that says to which chips each weight belongs."""
    chips = channel.public.key.chips
    share = chips.size // STRATA
    for stratum in range(STRATA):
        words = chips.keystream.derive("stratum", str(stratum))
        for start in range(0, share, _CHUNK):
            words.words16(min(_CHUNK, share - start) * chips.overlap, skip=start * chips.overlap)


def _drawn(count: int, positions: int) -> None:
    keystream = Keystream(bytes(32))
    for start in range(0, count, BLOCK):
        keystream.named_words16([f"r{number}" for number in range(start, min(start + BLOCK, count))], positions)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _peak() -> float:
    """Most memory that this process ever had, in MB; ru_maxrss would count the parent's before the program started."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    jobs = {job.__name__: job for job in (synthetic, issuing, plain, whole, reading, weighing, ledger)}
    with TemporaryDirectory(prefix="onnxfp-bench-") as name:
        warm = mark(Path(demo_file("digits.onnx")), Path(name) / "warm", "r0")
        warm.judged(warm.copy, (), issued=1)
    print(json.dumps(jobs[sys.argv[1]](*sys.argv[2:])))


if __name__ == "__main__":
    main()

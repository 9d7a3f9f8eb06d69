"""Thousands of damaged models: only our own errors come out, within a second and a bounded amount of memory."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from artifact_models import REAL, floats, layered_model, make_model, matmul_model, save_external
from onnx import TensorProto, helper
from test_decoding import NUMERIC, raw_tensor, typed_tensor
from test_hostile_files import HOSTILE

from onnxfp.artifact import (
    carriers,
    copy_artifact,
    inspect_artifact,
    open_artifact,
    resolve,
    similarity,
    sketch,
)
from onnxfp.errors import OnnxfpError

MODELS = 2400
SECONDS = 1.0
MEGABYTE = 1 << 20
SMALL_REAL = [path for path in REAL if path.stat().st_size < 300_000]
Rng = np.random.Generator


def allowed(size: int) -> int:
    return 64 * MEGABYTE + 2 * size


def use(path: Path) -> None:
    """Everything that is done with a suspect before it is weighed."""
    with open_artifact(path) as artifact:
        found = carriers(artifact, finite=False)
        inspect_artifact(artifact, finite=False)
        public = sketch(artifact, found)
        json.dumps(public.as_dict())
        similarity(public, artifact)
        resolve(found, artifact, public)
        for node in artifact.graph.nodes[:20]:
            artifact.attributes(node)
        for record in artifact.tensors[:50]:
            if record.dtype not in ("string", "complex64", "complex128"):
                artifact.read(record, record.size // 2, min(record.size, record.size // 2 + 3))


def flip(data: bytearray, rng: Rng, _: bytes) -> None:
    for at in rng.integers(0, len(data), rng.integers(1, 20)):
        data[at] ^= 1 << int(rng.integers(0, 8))


def flip_early(data: bytearray, rng: Rng, _: bytes) -> None:
    for at in rng.integers(0, min(len(data), 400), rng.integers(1, 4)):
        data[at] = int(rng.integers(0, 256))


def truncate(data: bytearray, rng: Rng, _: bytes) -> None:
    del data[int(rng.integers(0, len(data))) :]


def cut(data: bytearray, rng: Rng, _: bytes) -> None:
    at = int(rng.integers(0, len(data)))
    del data[at : at + int(rng.integers(1, 50))]


def splice(data: bytearray, rng: Rng, other: bytes) -> None:
    at, start = int(rng.integers(0, len(data))), int(rng.integers(0, len(other)))
    data[at : at + int(rng.integers(0, 100))] = other[start : start + int(rng.integers(1, 400))]


def repeat(data: bytearray, rng: Rng, _: bytes) -> None:
    at = int(rng.integers(0, len(data)))
    data[at:at] = data[at : at + int(rng.integers(1, 300))]


def lengthen(data: bytearray, rng: Rng, _: bytes) -> None:
    """Rewrite what is probably the length of a field: the byte after a length-delimited tag."""
    tags = [at for at in range(min(len(data) - 1, 4000)) if data[at] & 7 == 2 and data[at] < 0x80]
    at = int(rng.choice(tags or [0]))
    huge = (b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\x00", b"\x7f", b"\x80\x80\x04", b"\x80" * 10)
    data[at + 1 : at + 2] = huge[int(rng.integers(0, len(huge)))]


MUTATIONS = (flip, flip_early, truncate, cut, splice, repeat, lengthen)


def seeds(folder: Path) -> list[tuple[bytes, dict[str, bytes]]]:
    """Model bytes and their external files."""
    every_type = make_model(
        [helper.make_node("MatMul", ["x", "t0"], ["y"])],
        [
            named(build(code), f"t{i}")
            for i, (build, code) in enumerate((b, c) for b in (raw_tensor, typed_tensor) for c in NUMERIC)
        ],
    )
    texts = make_model([], [helper.make_tensor("s", TensorProto.STRING, [3], [b"one", b"", b"three"])])
    found: list[tuple[bytes, dict[str, bytes]]] = [
        (model.SerializeToString(), {}) for model in (layered_model(), layered_model(), every_type, texts)
    ]
    outside = [save_external(folder / "e", matmul_model(floats(0, 40, 40))), *SMALL_REAL]
    for path in outside:
        data = {p.name: p.read_bytes() for p in path.parent.glob("*.data")} if path.parent.name != "models" else {}
        found.append((path.read_bytes(), data))
    return found


def named(tensor: TensorProto, name: str) -> TensorProto:
    tensor.name = name
    return tensor


def trial(path: Path, action: Callable[[Path], None], *, measured: bool) -> str:
    """Run one model; return what came out, or fail by the exception that must not come out."""
    if measured:
        tracemalloc.start()
    begun = time.process_time()
    try:
        action(path)
        outcome = "read"
    except OnnxfpError as error:
        outcome = "refused" if str(error).isprintable() and len(str(error)) < 1000 else repr(str(error))
    finally:
        spent = time.process_time() - begun
        peak = tracemalloc.get_traced_memory()[1] if measured else 0
        if measured:
            tracemalloc.stop()
    size = sum(file.stat().st_size for file in path.parent.iterdir())
    assert peak <= allowed(size), f"{peak / MEGABYTE:.0f} MB for a file of {size / MEGABYTE:.2f} MB"
    assert measured or spent <= SECONDS, f"{spent:.2f} s for a file of {size / MEGABYTE:.2f} MB"
    assert outcome in ("read", "refused")
    return outcome


def test_damaged_models_raise_only_our_own_errors_within_bounds(tmp_path):
    rng = np.random.default_rng(20)
    originals = seeds(tmp_path)
    folder = tmp_path / "damaged"
    folder.mkdir()
    outcomes: Counter[str] = Counter()
    for index in range(MODELS):
        model, external = originals[index % len(originals)]
        data = bytearray(model)
        for mutation in rng.choice(len(MUTATIONS), rng.integers(1, 3)):
            if data:
                MUTATIONS[mutation](data, rng, originals[int(rng.integers(0, len(originals)))][0])
        (folder / "m.onnx").write_bytes(data)
        for name, content in external.items():
            (folder / name).write_bytes(content[: len(content) // 2] if index % 3 == 0 else content)
        outcomes[trial(folder / "m.onnx", use, measured=index % 12 == 0)] += 1
    assert outcomes.total() == MODELS
    assert min(outcomes["read"], outcomes["refused"]) > MODELS // 20  # neither all harmless nor all hopeless


def test_damaged_models_that_open_are_copied_whole(tmp_path):
    rng = np.random.default_rng(21)
    model = bytes(layered_model().SerializeToString())
    folder = tmp_path / "damaged"
    folder.mkdir()
    for index in range(40):
        data = bytearray(model)
        flip(data, rng, model)
        (folder / "m.onnx").write_bytes(data)
        target = tmp_path / f"{index}.onnx"
        try:
            with open_artifact(folder / "m.onnx") as artifact:
                copy_artifact(artifact, target)
        except OnnxfpError:
            assert not target.exists()
        else:
            assert target.read_bytes() == bytes(data)


@pytest.mark.parametrize("defect", [name for name, data in HOSTILE.items() if len(data) < MEGABYTE])
def test_hostile_files_cost_little_memory(tmp_path, defect):
    (tmp_path / "m.onnx").write_bytes(HOSTILE[defect])
    assert trial(tmp_path / "m.onnx", use, measured=True) == "refused"


def resident(key: str) -> int:
    """VmRSS (now) or VmHWM (the most so far) of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of resident memory is read from Linux")
@pytest.mark.parametrize("defect", [name for name, data in HOSTILE.items() if len(data) >= MEGABYTE])
def test_dense_hostile_files_cost_little_memory(tmp_path, defect):
    (tmp_path / "m.onnx").write_bytes(HOSTILE[defect])  # too many objects to trace one by one
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    with pytest.raises(OnnxfpError):
        use(tmp_path / "m.onnx")
    assert resident("VmHWM") - before <= allowed(len(HOSTILE[defect]))


def test_the_fuzzing_can_fail(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"x")

    def programming_error(_: Path) -> None:
        raise KeyError("a defect of ours")

    def many_lines(_: Path) -> None:
        raise OnnxfpError("two\nlines")

    def hog(_: Path) -> None:
        bytearray(70 * MEGABYTE)

    def slow(_: Path) -> None:
        while time.process_time() < end:
            pass

    with pytest.raises(KeyError):
        trial(path, programming_error, measured=False)
    with pytest.raises(AssertionError, match="lines"):
        trial(path, many_lines, measured=False)
    with pytest.raises(AssertionError, match="MB for a file"):
        trial(path, hog, measured=True)
    end = time.process_time() + SECONDS + 0.1
    with pytest.raises(AssertionError, match="s for a file"):
        trial(path, slow, measured=False)

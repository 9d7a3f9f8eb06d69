"""Rewriting the carriers of an artifact, one tensor at a time, all other bytes the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from onnxfp.artifact import (
    Artifact,
    Patch,
    TensorRecord,
    carriers,
    open_artifact,
    shown,
    weight_tensors,
    write_patched,
)
from onnxfp.domain import Weights
from onnxfp.errors import ArtifactError, UsageError

BLOCK = 1 << 20  # weights of one copy handled at a time where a step works weight by weight
_FLOATS = frozenset({"float", "float16", "bfloat16"})

Patches = Callable[[Sequence[Artifact], Sequence[TensorRecord]], Iterable[Patch]]


def rewrite(sources: Sequence[Path], destination: Path, patches: Patches, *, force: bool, small: bool = False) -> None:
    """Write the first source with `patches(artifacts, carriers)` applied.

    Args:
        sources: artifacts whose carriers have the same names, shapes and element types.
        destination: the file to write.
        patches: yields new values for carriers; it sees those of float types only.
        force: replace what exists at the destination.
        small: let it see weights besides that are too few to be a carrier: copies may differ there too.

    Raises:
        UsageError: the artifacts do not fit together, have no float carriers, or the destination cannot be taken.
        ArtifactError: a source is damaged.
    """
    with ExitStack() as stack:
        artifacts = [stack.enter_context(open_artifact(path)) for path in sources]
        records = float_carriers(artifacts[0], small=small)
        for other in artifacts[1:]:
            _refuse_misfit(artifacts[0], records, other, small=small)
        write_patched(artifacts[0], destination, patches(artifacts, records), force=force)


def float_carriers(artifact: Artifact, *, small: bool = False) -> tuple[TensorRecord, ...]:
    """Return the records of the carriers whose weights are floats, in the order of the file; or of all such weights.

    Raises:
        UsageError: there are none.
    """
    found = tuple(
        artifact.tensor(carrier.name) for carrier in carriers(artifact, finite=False) if carrier.dtype in _FLOATS
    )
    if not found:
        raise UsageError(
            f"{artifact.label}: expected at least one float carrier to change, found none; "
            "a carrier is a weight of Conv, Gemm, MatMul or a recurrent operator with 1024 elements or more"
        )
    return weight_tensors(artifact, _FLOATS) if small else found


def read_copies(artifacts: Sequence[Artifact], record: TensorRecord, start: int, stop: int) -> Weights:
    """Return (copies, n): weights ``[start, stop)`` of one carrier in every artifact.

    Raises:
        ArtifactError: a weight is not finite.
    """
    copies = np.stack([artifact.read(artifact.tensor(record.name), start, stop) for artifact in artifacts])
    if not np.isfinite(copies).all():
        raise ArtifactError(
            f"tensor '{shown(record.name)}': expected finite weights, found NaN or infinity; attack a whole model"
        )
    return copies


def blocks(record: TensorRecord) -> Iterator[tuple[int, int]]:
    """Yield the ranges in which a carrier is handled where a step works weight by weight."""
    for start in range(0, record.size, BLOCK):
        yield start, min(start + BLOCK, record.size)


def _refuse_misfit(first: Artifact, records: Sequence[TensorRecord], other: Artifact, *, small: bool) -> None:
    expected = {(record.name, record.shape, record.dtype) for record in records}
    found = {(record.name, record.shape, record.dtype) for record in float_carriers(other, small=small)}
    if expected != found:
        name = shown(min(expected ^ found)[0])
        raise UsageError(
            f"expected copies of one model, found that {first.label} and {other.label} disagree on carrier '{name}'; "
            "give copies with the same carriers"
        )

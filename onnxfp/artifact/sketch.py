"""A few public numbers of a reference by which its descendants are found again, whatever their tensors are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from onnxfp.artifact.consumers import weights
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.records import TensorRecord
from onnxfp.domain import Carrier, Floats

ALIKE = 0.5  # |correlation| of 64 values; unrelated ones reach 0.5 about once in 30 000 tries
_POINTS = 64
_MOST_POINTS = 512  # where most of the first 64 are zero
_TELLING = 32  # values that are not zero, to be reached by taking more points
_APART = 4  # weights per point at least, so that no two points fall on one weight
_TENSORS = 256
_READ_WHOLE = 1 << 14  # values that are read faster at once than in 64 places
_STRIDE = 2654435769  # 2**32 over the golden ratio: successive multiples fill a circle evenly, off any tensor's axes


@dataclass(frozen=True)
class Sampled:
    """One carrier's values at public places."""

    name: str
    shape: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def weight(self) -> int:
        """Number of weights that the values stand for."""
        return int(np.prod(self.shape, dtype=np.float64))


@final
@dataclass(frozen=True)
class Sketch:
    """The largest carriers of a reference, each sampled at 64 public places, or more where most weights are zero."""

    tensors: tuple[Sampled, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists and numbers, ready for JSON."""
        return {"tensors": [[t.name, list(t.shape), [float(f"{v:.5g}") for v in t.values]] for t in self.tensors]}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Sketch:
        """Undo `as_dict`."""
        rows: Sequence[Any] = plain["tensors"]
        return cls(tuple(Sampled(str(n), tuple(map(int, s)), tuple(map(float, v))) for n, s, v in rows))


def sketch(artifact: Artifact, carriers: Iterable[Carrier], *, tensors: int = _TENSORS) -> Sketch:
    """Return the sketch of the `tensors` largest of the given carriers.

    Raises:
        ArtifactError: a carrier is not in the artifact or cannot be read.
    """
    largest = sorted(carriers, key=lambda carrier: (-carrier.size, carrier.name))[:tensors]
    return Sketch(tuple(Sampled(c.name, c.shape, tuple(_telling(artifact, artifact.tensor(c.name)))) for c in largest))


def points(artifact: Artifact, record: TensorRecord, count: int = _POINTS) -> Floats:
    """Return the values of one tensor at `count` public places; the places depend on its size alone."""
    places = sorted({(index * _STRIDE % (1 << 32)) * record.size >> 32 for index in range(1, count + 1)})
    if record.size <= _READ_WHOLE:
        return artifact.read(record)[places if record.size else []].astype(np.float64)
    return np.array([artifact.read(record, place, place + 1)[0] for place in places], dtype=np.float64)


def _telling(artifact: Artifact, record: TensorRecord) -> Floats:
    """Return values at as many points as it takes to meet enough that are not zero."""
    count, values = _POINTS, points(artifact, record)
    while np.count_nonzero(values) < _TELLING and 2 * count <= min(_MOST_POINTS, record.size // _APART):
        count *= 2
        values = points(artifact, record, count)
    return values


def correlations(values: Floats, table: Floats) -> Floats:
    """Return |Pearson correlation| of `values` (places,) with each row of `table` (tensors, places).

    0 where a sample is constant, not finite or of another length.
    """
    if table.ndim != 2 or table.shape[1] != len(values) or not np.isfinite(values).all():
        return np.zeros(len(table))
    rows = np.where(np.isfinite(table).all(axis=1, keepdims=True), table, 0.0)
    first, second = values - values.mean(), rows - rows.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(first) * np.linalg.norm(second, axis=1)
    telling = (scale > 0) & (np.ptp(rows, axis=1) > 0)  # a constant minus its mean is rounding noise
    found: Floats = np.abs(second @ first) / np.where(telling, scale, np.inf)
    return found


def similarity(reference: Sketch, artifact: Artifact) -> float:
    """Return the mean |correlation| of a reference's sketch with this artifact, weighted by tensor size; 0 to 1.

    A tensor is paired with the best of its shape, or with the one of its name where none is alike; unpaired ones
    count 0.

    Raises:
        ArtifactError: the artifact cannot be read.
    """
    shapes = {sampled.shape for sampled in reference.tensors}
    records = [record for record, _ in weights(artifact).values() if record.shape in shapes]
    known: dict[tuple[str, int], Floats] = {}
    for sampled in reference.tensors:
        for record in records:
            key = (record.name, len(sampled.values))
            if record.shape == sampled.shape and key not in known:
                known[key] = points(artifact, record, len(sampled.values))
    telling = [sampled for sampled in reference.tensors if len(set(sampled.values)) > 1]  # constants resemble nothing
    total = sum(sampled.weight for sampled in telling)
    found = sum(sampled.weight * _best(sampled, records, known) for sampled in telling)
    return found / total if total else 0.0


def _best(sampled: Sampled, records: list[TensorRecord], known: Mapping[tuple[str, int], Floats]) -> float:
    same = [record for record in records if record.shape == sampled.shape]
    if not same:
        return 0.0
    table = [known[record.name, len(sampled.values)] for record in same]
    likeness = correlations(np.array(sampled.values), np.stack(table))
    best = float(likeness.max())
    named = [alike for record, alike in zip(same, likeness.tolist(), strict=True) if record.name == sampled.name]
    return float(named[0]) if named and best < ALIKE else best

"""Which tensor of a suspect answers for which carrier of the reference: by name, unless the values deny the name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import final

import numpy as np

from onnxfp.artifact.carriers import NOT_WEIGHTS
from onnxfp.artifact.consumers import weights
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.records import TensorRecord
from onnxfp.artifact.sketch import ALIKE, Sketch, correlations, points
from onnxfp.domain import Carrier, Floats
from onnxfp.errors import ArtifactError

_MARGIN = 0.1  # by which another tensor must be more alike than the one of the carrier's name
_UNUSED = 64  # tensors of one shape looked at that no operator takes as weights


def resolve(
    reference_carriers: Iterable[Carrier], artifact: Artifact, sketch: Sketch | None = None
) -> dict[str, TensorRecord]:
    """Return carrier name -> tensor of `artifact`, for every carrier that has an answer; no tensor answers twice.

    Same name and same shape answer, unless the sampled values of another tensor of that shape are clearly more like
    the reference's sketch: names can be changed, and decoys put in their place. Nothing here depends on a key.

    Raises:
        ArtifactError: the artifact cannot be read.
    """
    wanted = tuple(reference_carriers)
    tensors = {record.name: record for record in artifact.tensors if record.sparse_shape is None}
    named = {c.name: tensors[c.name] for c in wanted if c.name in tensors and tensors[c.name].shape == c.shape}
    if sketch is None:
        return named
    samples = {sampled.name: np.array(sampled.values) for sampled in sketch.tensors}
    suspects = _Suspects(artifact, {record.name for record, _ in weights(artifact).values()})
    found: dict[str, TensorRecord] = {}
    claimed: set[str] = set()
    for carrier in wanted:
        record = named.get(carrier.name)
        if carrier.name in samples:
            record = suspects.answer(carrier.shape, samples[carrier.name], record, claimed)
        if record is not None and record.name not in claimed:
            found[carrier.name] = record
            claimed.add(record.name)
    return found


@final
@dataclass(frozen=True)
class _Suspects:
    """The tensors that may answer for a carrier; each is read once."""

    artifact: Artifact
    used: set[str]
    """Names of those that operators take as weights."""
    known: dict[tuple[str, int], Floats] = field(default_factory=dict)

    def answer(
        self, shape: tuple[int, ...], sample: Floats, named: TensorRecord | None, claimed: set[str]
    ) -> TensorRecord | None:
        """Return the tensor of the carrier's name, or the one that is clearly more alike, if there is one."""
        likeness = self._likeness([named], sample)[0] if named is not None else 0.0
        if named is not None and named.name in self.used and likeness > 1 - _MARGIN:
            return named
        free = [record for record in self._of_shape(shape) if record.name not in claimed and record != named]
        best = named
        for record, alike in zip(free, self._likeness(free, sample), strict=True):
            if alike >= ALIKE and (best is None or alike > likeness + self._margin(record, best, named)):
                best, likeness = record, alike
        return best

    def _margin(self, record: TensorRecord, best: TensorRecord, named: TensorRecord | None) -> float:
        """How much more alike `record` must be: what no operator uses may be a decoy, whatever its values are."""
        if (record.name in self.used) != (best.name in self.used):
            return _MARGIN if best.name in self.used else -_MARGIN
        return _MARGIN if best is named else 0.0

    def _of_shape(self, shape: tuple[int, ...]) -> Iterator[TensorRecord]:
        same = [
            record
            for record in self.artifact.tensors
            if record.shape == shape and record.sparse_shape is None and record.dtype not in NOT_WEIGHTS
        ]
        yield from (record for record in same if record.name in self.used)
        yield from islice((record for record in same if record.name not in self.used), _UNUSED)

    def _likeness(self, records: list[TensorRecord], sample: Floats) -> list[float]:
        if not records:
            return []
        table = np.stack([self._points(record, len(sample)) for record in records])
        return [float(alike) for alike in correlations(sample, table)]

    def _points(self, record: TensorRecord, count: int) -> Floats:
        key = (record.name, count)
        if key not in self.known:
            self.known[key] = _readable(self.artifact, record, count)
        return self.known[key]


def _readable(artifact: Artifact, record: TensorRecord, count: int) -> Floats:
    """Return a tensor's values at its public places; what cannot be read there resembles nothing."""
    try:
        found = points(artifact, record, count)
    except ArtifactError:
        found = np.zeros(0)
    return found if len(found) == count else np.full(count, np.nan)

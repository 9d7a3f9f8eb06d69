"""Which tensor of a suspect answers for which carrier of the reference: by name, else by the values' own likeness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from onnxfp.artifact.consumers import weights
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.records import TensorRecord
from onnxfp.artifact.sketch import Sketch, correlations, points
from onnxfp.domain import Carrier, Floats

_ALIKE = 0.5  # |correlation| of 64 values; unrelated ones reach 0.5 about once in 30 000 tries
_MARGIN = 0.1  # by which the best must beat the second


def resolve(
    reference_carriers: Iterable[Carrier], artifact: Artifact, sketch: Sketch | None = None
) -> dict[str, TensorRecord]:
    """Return carrier name -> tensor of `artifact`, for every carrier that has an answer; no tensor answers twice.

    Same name and same shape come first. What is left is paired with an unclaimed weight of the same shape: the one
    whose sampled values correlate clearly best with the reference's sketch. Nothing here depends on a key.

    Raises:
        ArtifactError: the artifact cannot be read.
    """
    wanted = tuple(reference_carriers)
    tensors = {record.name: record for record in artifact.tensors if record.sparse_shape is None}
    found = {c.name: tensors[c.name] for c in wanted if c.name in tensors and tensors[c.name].shape == c.shape}
    missing = [carrier for carrier in wanted if carrier.name not in found]
    if sketch is None or not missing:
        return found
    claimed = {record.name for record in found.values()}
    sampled = {tensor.name: np.array(tensor.values) for tensor in sketch.tensors}
    shapes = {carrier.shape for carrier in missing}
    free = [r for r, _ in weights(artifact).values() if r.name not in claimed and r.shape in shapes]
    known = {record.name: points(artifact, record) for record in free}
    return found | _pair([c for c in missing if c.name in sampled], free, sampled, known)


def _pair(
    missing: list[Carrier], free: list[TensorRecord], sampled: Mapping[str, Floats], known: Mapping[str, Floats]
) -> dict[str, TensorRecord]:
    found: dict[str, TensorRecord] = {}
    claimed: set[str] = set()
    shapes = {carrier.shape: [r for r in free if r.shape == carrier.shape] for carrier in missing}
    tables = {shape: np.stack([known[r.name] for r in same]) for shape, same in shapes.items() if same}
    for carrier in missing:
        if carrier.shape in tables:
            likeness = correlations(sampled[carrier.name], tables[carrier.shape])
            best = int(likeness.argmax())
            record = shapes[carrier.shape][best]
            second = float(np.delete(likeness, best).max(initial=0.0))
            if likeness[best] >= max(_ALIKE, second + _MARGIN) and record.name not in claimed:
                found[carrier.name] = record
                claimed.add(record.name)
    return found

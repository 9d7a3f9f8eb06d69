"""An open suspect: its weights, read block by block beside those of the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import assert_never, final

import numpy as np

from onnxfp.artifact import Artifact, TensorRecord
from onnxfp.domain import Answered, Probe, QueryProbe, Response, Segment, Unanswered, WeightProbe, Weights
from onnxfp.errors import ArtifactError
from onnxfp.projections.residual import Unit, residual


@dataclass(frozen=True)
class _Residuals:
    """What all probes of the same weights share: the residual of every segment, and what was not read."""

    values: Weights
    coverage: float
    unread: tuple[str, ...]


@final
@dataclass(frozen=True)
class OpenedWeights:
    """A suspect built with its reference; `tensors` says which tensor of the suspect answers for which carrier."""

    suspect: Artifact
    reference: Artifact
    tensors: Mapping[str, TensorRecord]
    _read: dict[tuple[object, ...], _Residuals] = field(default_factory=dict, repr=False)

    def answer(self, probe: Probe) -> Response:
        """Answer one number per position of a WeightProbe."""
        match probe:
            case WeightProbe():
                return self._project(probe)
            case QueryProbe():
                return Unanswered("its weights are open, but it was not asked for outputs")
        assert_never(probe)

    def _project(self, probe: WeightProbe) -> Response:
        # Owner and recipients look at the same weights with other chips: read them once.
        key = (probe.segments, probe.clip, probe.strength, probe.blind)
        if key not in self._read:
            self._read.clear()
            self._read[key] = self._residuals(probe)
        read = self._read[key]
        if read.coverage == 0:
            return Unanswered("; ".join(read.unread) or "no marked weight could be read")
        return Answered(probe.projection.apply(read.values), read.coverage, read.unread)

    def _residuals(self, probe: WeightProbe) -> _Residuals:
        parts, heard, unread = [], 0, []
        for carrier, group in groupby(probe.segments, key=lambda segment: segment.carrier):
            segments = list(group)
            size = sum(segment.size for segment in segments)
            try:
                parts.append(self._carrier(probe, carrier, segments))
                heard += size
            except ArtifactError as problem:
                parts.append(np.zeros(size, dtype=np.float32))
                unread.append(str(problem))
        values = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
        return _Residuals(values, heard / max(1, values.size), tuple(unread))

    def _carrier(self, probe: WeightProbe, carrier: str, segments: Sequence[Segment]) -> Weights:
        if carrier not in self.tensors:
            raise ArtifactError(f"the suspect has no tensor that answers for carrier {carrier!r}")
        mine = _weights(self.suspect, self.tensors[carrier], segments)
        if not np.isfinite(mine).any():
            raise ArtifactError(f"carrier {carrier!r} of the suspect holds no finite weight")
        if probe.blind:
            unit = np.float32(probe.strength * segments[0].gain * segments[0].spread)
            with np.errstate(over="ignore"):  # what is too large for a float says as little as an infinity
                values: Weights = np.nan_to_num(mine / unit, nan=0.0, posinf=0.0, neginf=0.0)
            return values
        theirs = _weights(self.reference, _record(self.reference, carrier), segments)
        return residual(mine, theirs, Unit(segments[0].spread, probe.strength * segments[0].gain), probe.clip)


def _record(artifact: Artifact, name: str) -> TensorRecord:
    for record in artifact.tensors:
        if record.name == name:
            return record
    raise ArtifactError(f"the registered reference has no tensor {name!r} any more")


def _weights(artifact: Artifact, record: TensorRecord, segments: Sequence[Segment]) -> Weights:
    return np.concatenate([artifact.read(record, segment.start, segment.stop) for segment in segments])

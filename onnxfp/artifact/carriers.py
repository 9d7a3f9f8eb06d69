"""The tensors that can bear a weight mark, with the unit in which a change to each is measured."""

from __future__ import annotations

import numpy as np

from onnxfp.artifact.consumers import weights
from onnxfp.artifact.digest import weight_digest
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.records import TensorRecord
from onnxfp.artifact.wire import shown
from onnxfp.domain import Carrier, Floats, ModelProfile, Weights
from onnxfp.errors import ArtifactError

MIN_SIZE = 1024  # smaller tensors cannot hide anything
_WINDOWS, _SAMPLE = 16, 1 << 18
NOT_WEIGHTS = frozenset({"string", "bool", "complex64", "complex128"})
_NORMAL_IQR = 1.349  # interquartile range of a standard normal variable


def carriers(artifact: Artifact, *, finite: bool = True) -> tuple[Carrier, ...]:
    """Return the carriers in the order of the file; a tensor used by several operators appears once.

    Args:
        artifact: an open model.
        finite: refuse NaN and infinite weights, as a reference must; a suspect's are passed over.

    Raises:
        ArtifactError: a looked-at weight of a reference is not finite. At most 2**18 values of each carrier are
            looked at, in 16 windows.
    """
    return tuple(
        _carrier(artifact, record, operator, finite=finite)
        for record, operator in weights(artifact).values()
        if record.size >= MIN_SIZE and record.dtype not in NOT_WEIGHTS
    )


def weight_tensors(artifact: Artifact, dtypes: frozenset[str]) -> tuple[TensorRecord, ...]:
    """Return all tensors of some element types that operators take as weights, of any size, in the file's order."""
    found = (record for record, _ in weights(artifact).values())
    return tuple(record for record in found if record.size and record.dtype in dtypes)


def profile(artifact: Artifact) -> ModelProfile:
    """Return what a scheme may know of this reference.

    Raises:
        ArtifactError: a looked-at weight is NaN or infinite.
    """
    return ModelProfile(weight_digest(artifact), carriers(artifact))


def sample(artifact: Artifact, record: TensorRecord) -> Weights:
    """Return at most 2**18 values in up to 16 evenly spaced contiguous windows, the same ones every time."""
    if record.size <= _SAMPLE:
        return artifact.read(record)
    width = _SAMPLE // _WINDOWS
    starts = [index * (record.size - width) // (_WINDOWS - 1) for index in range(_WINDOWS)]
    return np.concatenate([artifact.read(record, start, start + width) for start in starts])


def _carrier(artifact: Artifact, record: TensorRecord, operator: str, *, finite: bool) -> Carrier:
    values = sample(artifact, record).astype(np.float64)
    good = np.isfinite(values)
    if finite and not good.all():
        raise ArtifactError(
            f"tensor '{shown(record.name)}': expected finite weights, found NaN or infinity; a model that is to be "
            "marked must be whole: train or export it again"
        )
    heard = values[good & (values != 0)]
    density = len(heard) / len(values)
    return Carrier(record.name, record.shape, record.dtype, operator, _spread(heard), record.writable, density)


def _spread(values: Floats) -> float:
    """Robust standard deviation of non-zero values: heavy tails and pruning leave it nearly alone."""
    if not len(values):
        return 0.0
    quarter, three = np.percentile(values, [25, 75])
    robust = float(three - quarter) / _NORMAL_IQR
    deviation = float(values.std())
    return min(deviation, robust) if robust > 0 else deviation

"""One slice more in a tensor, along the axis that counts the classes: the mean of those that it has."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt

from onnxfp.artifact.encode import encode
from onnxfp.artifact.messages import NewTensor
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.records import TensorRecord
from onnxfp.artifact.rewrite import MAX_MESSAGE
from onnxfp.artifact.wire import shown
from onnxfp.domain import Floats
from onnxfp.errors import ArtifactError, UsageError

_WORDS = {2: "<u2", 4: "<u4", 8: "<u8"}


def with_mean(artifact: Artifact, record: TensorRecord, axis: int, shift: float = 0.0) -> NewTensor:
    """Return a tensor with one slice more, the mean of its slices plus `shift`; all others keep their bits.

    Raises:
        UsageError: it is too large for a model file.
        ArtifactError: it holds NaN or infinity.
    """
    _refuse_large(record, record.shape)
    words = _words(artifact, record)
    mean = _values(artifact, record).mean(axis=axis, keepdims=True, dtype=np.float64) + shift
    new = np.frombuffer(written(mean, record), dtype=words.dtype).reshape(mean.shape)
    return _tensor(record, np.concatenate([words, new], axis=axis))


def spread(artifact: Artifact, record: TensorRecord, after: int, classes: int, shift: float) -> NewTensor:
    """Return a tensor that was the same for every class with one entry each, and the new one's plus `shift`.

    Args:
        artifact: the model.
        record: the tensor, whose axis of classes has one entry or is missing.
        after: axes that follow it.
        classes: how many there were.
        shift: what the new class gets more.

    Raises:
        UsageError: it would be too large for a model file.
        ArtifactError: it holds NaN or infinity.
    """
    shape = (1,) * (after + 1 - len(record.shape)) + record.shape
    axis = len(shape) - 1 - after
    _refuse_large(record, (*shape[:axis], classes + 1, *shape[axis + 1 :]))
    old = np.repeat(_words(artifact, record).reshape(shape), classes, axis=axis)
    new = np.frombuffer(written(_values(artifact, record).astype(np.float64) + shift, record), dtype=old.dtype).reshape(
        shape
    )
    return _tensor(record, np.concatenate([old, new], axis=axis))


def written(values: Floats, record: TensorRecord) -> bytes:
    """Return values as bytes of a tensor's element type.

    Raises:
        ArtifactError: one is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise ArtifactError(
            f"tensor '{shown(record.name)}': expected finite weights, found NaN or infinity; train or export it again"
        )
    return plain(values, record.dtype)


def plain(values: Floats, dtype: str) -> bytes:
    """Return finite values as bytes of a head's element type."""
    return values.astype("<f8").tobytes() if dtype == "double" else encode(values.astype(np.float32).ravel(), dtype)


def _values(artifact: Artifact, record: TensorRecord) -> npt.NDArray[np.floating]:
    """In single precision, but for doubles: sums are taken in double, a copy in it would be too large."""
    if record.dtype == "double":
        return _words(artifact, record).view("<f8")
    return artifact.read(record).reshape(record.shape)


def _words(artifact: Artifact, record: TensorRecord) -> npt.NDArray[np.unsignedinteger]:
    data = b"".join(artifact.read_bytes(record))
    return np.frombuffer(data, dtype=_WORDS[record.type.bits // 8]).reshape(record.shape)


def _tensor(record: TensorRecord, words: npt.NDArray[np.unsignedinteger]) -> NewTensor:
    return NewTensor(record.value, record.dtype, words.shape, words.tobytes())


def _refuse_large(record: TensorRecord, shape: tuple[int, ...]) -> None:
    size = record.type.stored_bytes(prod(shape))
    if size > MAX_MESSAGE:
        raise UsageError(
            f"tensor '{shown(record.name)}': expected a head of at most {MAX_MESSAGE} bytes, found {size}; "
            "use a model with a smaller one"
        )

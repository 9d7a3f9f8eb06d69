"""Fidelity on the caller's data: how well a copy keeps the reference's accuracy or, without labels, its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onnxfp.errors import FidelityError, UsageError
from onnxfp.suspect.session import Limits, Session, open_session
from onnxfp.workflows.arrays import read_npz

# The owner's own models, of any size, on data of the owner's choice.
_PATIENT = Limits(start_s=1800, answer_s=1800)


@dataclass(frozen=True)
class Data:
    """Inputs (samples, ...) and, if there are any, labels (samples,)."""

    inputs: npt.NDArray[np.generic]
    labels: npt.NDArray[np.int64] | None


def load_data(path: Path) -> Data:
    """Read an ``.npz`` with ``inputs`` and perhaps ``labels``; nothing in it is ever executed.

    Raises:
        UsageError: the file is missing, damaged, or has other arrays.
    """
    arrays = read_npz(path, "`inputs` (and `labels`)")
    if "inputs" not in arrays:
        raise UsageError(f"{path}: expected an .npz with `inputs` (and `labels`): inputs is not a file in the archive")
    inputs, labels = arrays["inputs"], arrays.get("labels")
    if not inputs.ndim or not len(inputs):
        raise UsageError(f"{path} has no inputs; give at least one sample")
    if labels is not None and labels.shape != (len(inputs),):
        raise UsageError(f"{path} has {len(inputs)} inputs but labels of shape {labels.shape}; give one label each")
    return Data(inputs, labels)


def quality(session: Session, data: Data, answers: npt.NDArray[np.int64]) -> float:
    """Return the share of samples on which a model says the label or, without labels, what `answers` says."""
    wanted = answers if data.labels is None else data.labels
    return float(np.mean(session.outputs(data.inputs).argmax(axis=1) == wanted))


def accuracy(model: Path, data: Data) -> float:
    """Return the task accuracy of a model on labelled data."""
    if data.labels is None:
        raise UsageError("accuracy needs labels")
    with open_session(model, limits=_PATIENT) as session:
        return quality(session, data, data.labels)


def fidelity_check(reference: Path, data: Data, loss: float) -> Callable[[Path], None]:
    """Return a check that refuses a copy losing more than `loss` of accuracy, or of agreement with the reference."""
    with open_session(reference, limits=_PATIENT) as original:
        answers = original.outputs(data.inputs).argmax(axis=1)
        before = quality(original, data, answers)

    def check(copy: Path) -> None:
        with open_session(copy, limits=_PATIENT) as session:
            after = quality(session, data, answers)
        if before - after > loss:
            what = "agreement" if data.labels is None else "accuracy"
            raise FidelityError(
                f"{what} would fall from {before:.2%} to {after:.2%}, by more than {loss:.2%}; "
                "register with a lower strength"
            )

    return check

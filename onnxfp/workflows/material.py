"""What a model is taught and judged with: the owner's data, and what is held back of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.embed.task import Task
from onnxfp.errors import UsageError
from onnxfp.suspect.model_input import ModelInput, cast
from onnxfp.workflows.fidelity import Data, load_data

_HELD_BACK = 0.1  # of the data, when no validation data are given


@dataclass(frozen=True)
class Material:
    """The owner's data and, if there are any, those on which fidelity is judged."""

    data: Data
    held: Data | None

    def taken_by(self, takes: ModelInput) -> Material:
        """Return the same with inputs of the type that a model takes; their values stay what they are.

        Raises:
            UsageError: a value would become another one.
        """
        if takes.dtype not in np.sctypeDict:  # no plain numbers, or it could not be opened: it says so when it is asked
            return self
        held = None if self.held is None else replace(self.held, inputs=cast(self.held.inputs, takes.dtype))
        return Material(replace(self.data, inputs=cast(self.data.inputs, takes.dtype)), held)

    def refuse_labels(self, classes: int) -> None:
        """Refuse labels that are no classes of a model.

        Raises:
            UsageError: they are no integers, or there are not so many classes.
        """
        for given in filter(None, (self.data, self.held)):
            _refuse_labels(given.labels, classes)

    def task(self, hidden: npt.NDArray[np.int64]) -> Task:
        """Return what the model is for, without the rows that are hidden from it to be asked later."""
        keep = np.ones(len(self.data.inputs), dtype=bool)
        keep[hidden] = False
        inputs, labels = self.data.inputs[keep], None if self.data.labels is None else self.data.labels[keep]
        if self.held is not None:
            return Task(inputs, labels, self.held.inputs, self.held.labels)
        back = max(1, round(_HELD_BACK * len(inputs)))
        cut = (None, None) if labels is None else (labels[:-back], labels[-back:])
        return Task(inputs[:-back], cut[0], inputs[-back:], cut[1])


def load_material(data: Path, held: Path | None) -> Material:
    """Read the data.

    Raises:
        UsageError: a file cannot be read, its inputs are not finite numbers, or the two differ in form.
    """
    loaded = Material(load_data(data), None if held is None else load_data(held))
    _refuse_inputs(loaded.data.inputs, data)
    if loaded.held is not None and held is not None:
        _refuse_inputs(loaded.held.inputs, held)
        wanted, found = _form(loaded.data.inputs), _form(loaded.held.inputs)
        if wanted != found:
            raise UsageError(f"{held} has inputs that are {found}, {data} {wanted}; give both as the model takes them")
    return loaded


def _refuse_inputs(inputs: npt.NDArray[Any], path: Path) -> None:
    if inputs.dtype.kind not in "fiu" or not np.isfinite(inputs).all():
        raise UsageError(
            f"{path}: inputs are {inputs.dtype} where finite numbers are needed; give the model's own inputs"
        )


def _form(inputs: npt.NDArray[Any]) -> str:
    return f"{inputs.dtype} of shape {inputs.shape[1:]}"


def _refuse_labels(labels: npt.NDArray[Any] | None, classes: int) -> None:
    if labels is None:
        return
    if labels.dtype.kind not in "iu":
        raise UsageError(f"labels are {labels.dtype}; give the numbers of classes, 0 to {classes - 1}")
    if labels.min() < 0 or labels.max() >= classes:
        raise UsageError(
            f"labels are {labels.min()} to {labels.max()}; the model has {classes} classes, numbered 0 to {classes - 1}"
        )

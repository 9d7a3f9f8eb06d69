"""The state of a training between two epochs: written whole or not at all, and only ever continued as it began."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Constraint, KeptAnswers, OutputTarget, ProgrammedAnswers, Projection, WeightTarget
from onnxfp.embed.task import Task, Tuning

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the state of one training, told from any other by its settings."""

    path: Path
    settings: str
    """Digest of all that the course of the training depends on."""

    def save(self, state: Arrays) -> None:
        """Replace what the file holds."""
        part = self.path.with_name(self.path.name + ".tmp")
        arrays: dict[str, Any] = {"settings": np.array(self.settings), **state}
        with part.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)

    def load(self) -> Arrays | None:
        """Return the state, or None when there is none, it is damaged, or it belongs to another training."""
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                state = {name: kept[name] for name in kept.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        return state if str(state.pop("settings", "")) == self.settings else None


def settings(constraints: Sequence[Constraint], task: Task, tuning: Tuning, start: Arrays) -> str:
    """Return a digest of all that a training depends on; of a secret projection only what it does is looked at."""
    digest = hashlib.sha256(repr(astuple(tuning)).encode())
    for array in (task.inputs, task.labels, task.val_inputs, task.val_labels):
        _add(digest, array)
    for name, array in start.items():
        digest.update(name.encode())
        _add(digest, array)
    for constraint in constraints:
        _add_constraint(digest, constraint)
    return digest.hexdigest()


def _add_constraint(digest: Any, constraint: Constraint) -> None:
    match constraint:
        case OutputTarget():
            for array in (constraint.inputs, constraint.labels):
                _add(digest, array)
        case KeptAnswers():
            _add(digest, constraint.inputs)
        case ProgrammedAnswers(inputs, positions, classes, codebook, write, loudness):
            digest.update(repr(loudness).encode())
            for array in (inputs, positions, classes, codebook.thresholds):
                _add(digest, array)
            _add_constraint(digest, write(np.zeros(codebook.positions, dtype=np.uint8)))
        case WeightTarget():
            digest.update(repr((constraint.segments, constraint.strength, constraint.blind)).encode())
            digest.update(repr(constraint.tolerance).encode())
            _add(digest, constraint.values)
            _add(digest, _image(constraint.projection))
        case _:
            pass


def _image(projection: Projection) -> npt.NDArray[Any]:
    """What the projection makes of one fixed residual: another key makes something else of it."""
    return projection.apply(np.cos(np.arange(projection.size, dtype=np.float64) ** 2).astype(np.float32))


def _add(digest: Any, array: npt.NDArray[Any] | None) -> None:
    if array is None:
        digest.update(b"none")
        return
    digest.update(repr((array.dtype.str, array.shape)).encode())
    for start in range(0, len(array), 4096):
        digest.update(np.ascontiguousarray(array[start : start + 4096]).tobytes())

"""Views: rows of candidate data as a suspect is asked them, each perhaps in several slightly moved copies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Rows
from onnxfp.keys.keystream import public_numbers

MOST = 32  # moved copies of a row

_LEAST_SIDE = 8  # of a picture; what is smaller, or has no rows and columns, is disturbed and not moved
_CHANNELS = 4
_NOISE = 0.05  # of the deviation of a row's own numbers
_PUBLIC = public_numbers("views")  # how rows are disturbed is no secret


@final
@dataclass(frozen=True)
class Views:
    """Inputs (samples, ...): each chosen row as it is, then its moved copies. They are made when they are taken."""

    inputs: Rows
    rows: npt.NDArray[np.int64]
    """(samples,): of `inputs`."""
    moved: int = 0
    """Copies of each row besides itself."""

    @property
    def each(self) -> int:
        """Samples of one row."""
        return 1 + self.moved

    @property
    def shape(self) -> tuple[int, ...]:
        """(samples, ...)."""
        return (len(self), *self.inputs.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the inputs."""
        return self.inputs.dtype

    def __len__(self) -> int:
        return len(self.rows) * self.each

    def __getitem__(self, samples: Any, /) -> npt.NDArray[Any]:
        """Return some samples as an array."""
        chosen = np.arange(*samples.indices(len(self))) if isinstance(samples, slice) else np.asarray(samples)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        taken = np.array(self.inputs[self.rows[chosen // self.each]])
        which = chosen % self.each
        for copy in np.unique(which[which > 0]) if self.moved else ():
            taken[which == copy] = self._moved(taken[which == copy], int(copy))
        return taken

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        del copy
        return np.asarray(self[:], dtype=dtype)

    @cached_property
    def _axes(self) -> tuple[int, int] | None:
        """The axes of a sample that are a picture's rows and columns; None for what is no picture."""
        shape = self.inputs.shape
        if len(shape) == 3:
            axes = (1, 2)
        elif len(shape) == 4:
            axes = (1, 2) if shape[3] <= _CHANNELS < shape[1] else (2, 3)
        else:
            return None
        return axes if min(shape[axis] for axis in axes) >= _LEAST_SIDE else None

    def _moved(self, values: npt.NDArray[Any], copy: int) -> npt.NDArray[Any]:
        """Shift pictures by a pixel or two; disturb anything else a little."""
        if self._axes is not None:
            moved: npt.NDArray[Any] = np.roll(values, _shift(copy), axis=self._axes)
            return moved
        if values.dtype.kind != "f":
            return values
        noise = _PUBLIC.derive(str(copy)).normals(int(np.prod(values.shape[1:]))).reshape(values.shape[1:])
        with np.errstate(over="ignore", invalid="ignore"):
            spread = np.nan_to_num(values.reshape(len(values), -1).std(axis=1), posinf=0.0)  # 0 for rows of no numbers
        spread = spread.reshape(-1, *[1] * (values.ndim - 1))
        disturbed: npt.NDArray[Any] = (values + _NOISE * spread * noise).astype(values.dtype)
        return disturbed


def _shift(copy: int) -> tuple[int, int]:
    """Return the shift of a copy, nearest first: rows and columns."""
    near = [(down, right) for down in range(-3, 4) for right in range(-3, 4) if (down, right) != (0, 0)]
    return sorted(near, key=lambda shift: (shift[0] ** 2 + shift[1] ** 2, shift))[copy - 1]

"""Inputs of a model seen as pictures: rows, columns and channels, whatever order the model takes them in."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Floats
from onnxfp.errors import UsageError

Inputs = npt.NDArray[Any]

_CHANNELS = (1, 3, 4)  # grey, colour, colour with another plane


@dataclass(frozen=True)
class Canvas:
    """The form of one input, and the range of values that the owner's data have in each channel."""

    shape: tuple[int, ...]
    """Of one input, as the model takes it."""
    dtype: str
    height: int
    width: int
    low: tuple[float, ...]
    """Per channel."""
    high: tuple[float, ...]
    channels_first: bool

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.low)

    def pictures(self, inputs: Inputs) -> Floats:
        """Return inputs (samples, ...) as (samples, height, width, channels)."""
        plain = np.asarray(inputs, dtype=np.float64)
        if self.channels_first:
            return np.moveaxis(plain.reshape(len(plain), self.channels, self.height, self.width), 1, 3)
        return plain.reshape(len(plain), self.height, self.width, self.channels)

    def inputs(self, pictures: Floats) -> Inputs:
        """Return pictures (samples, height, width, channels) as inputs, within the range of the data."""
        inside = np.clip(pictures, self.low, self.high)
        if np.issubdtype(np.dtype(self.dtype), np.integer):
            inside = np.rint(inside)
        ordered = np.moveaxis(inside, 3, 1) if self.channels_first else inside
        return np.ascontiguousarray(ordered.reshape(len(inside), *self.shape).astype(self.dtype))


def canvas_of(inputs: Inputs) -> Canvas:
    """Return the canvas of a data set (samples, ...).

    Three axes are channels, rows, columns or rows, columns, channels, told by which of them is 1, 3 or 4 long; a vector
    is a square if its length is one, else a single row.

    Raises:
        UsageError: the inputs are none, not numbers, not finite, all alike, or have more axes than a picture.
    """
    if not inputs.size:
        raise UsageError(f"inputs of shape {inputs.shape} hold no number; give real data of the model's task")
    kind = inputs.dtype.kind
    if kind not in "fiu" or not np.isfinite(inputs).all():
        raise UsageError(f"inputs are {inputs.dtype} where finite numbers are needed; give the model's own inputs")
    shape = tuple(int(extent) for extent in inputs.shape[1:])
    height, width, channels, first = _form(shape)
    flat = np.moveaxis(inputs.reshape(len(inputs), channels, -1), 1, 0) if first else inputs.reshape(-1, channels).T
    rows = flat.reshape(channels, -1)
    low, high = rows.min(axis=1), rows.max(axis=1)
    if not (high > low).any():
        raise UsageError("all inputs are alike; give real data of the model's task")
    return Canvas(
        shape,
        str(inputs.dtype),
        height,
        width,
        tuple(float(value) for value in low),
        tuple(float(value) for value in high),
        first,
    )


def _form(shape: tuple[int, ...]) -> tuple[int, int, int, bool]:
    """Return height, width, channels and whether channels come first."""
    match shape:
        case (channels, height, width) if channels in _CHANNELS:
            return height, width, channels, True
        case (height, width, channels) if channels in _CHANNELS:
            return height, width, channels, False
        case (height, width):
            return height, width, 1, False
        case (size,):
            side = isqrt(size)
            return (side, side, 1, False) if side * side == size else (1, size, 1, False)
    raise UsageError(
        f"an input of shape {shape} ({prod(shape)} numbers) is no picture; triggers are stamped on pictures"
    )

"""What is done to the owner's inputs before a suspect that expects others is asked.

The owner's inputs are as the owner's own model takes them: (samples, ...). The steps have one order, whatever the order
in which they are written:

1. ``own-std``, ``own-mean``: undo the owner's normalisation, x * own-std + own-mean;
2. ``scale``: multiply;
3. ``mean``, ``std``: normalise as the suspect does, (x - mean) / std;
4. ``resize``: to HEIGHTxWIDTH pixels, bilinear;
5. ``dtype``: convert; to integers by rounding and clipping;
6. ``layout``: order the axes of images as the suspect takes them, ``nchw`` or ``nhwc``;
   or ``jpeg`` instead of 5 and 6: one JPEG file of this quality per sample, a tensor of BYTES (samples, 1).

``mean``, ``std`` and their twins hold one number, or one per channel. `images.py` says which axis that is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from onnxfp.errors import UsageError
from onnxfp.suspect.images import Array, cast, jpegs, laid_out, per_channel, resized

_LAYOUTS = ("nchw", "nhwc")
_DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


@dataclass(frozen=True)
class Transform:
    """The steps; without any, inputs are sent as they are. `parse` reads what `str` writes."""

    own_std: tuple[float, ...] = ()
    own_mean: tuple[float, ...] = ()
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: tuple[int, int] | None = None
    dtype: str = ""
    layout: str = ""
    jpeg: int = 0

    @classmethod
    def parse(cls, text: str) -> Transform:
        """Read ``scale=255 mean=0.5 std=0.2,0.2,0.3 resize=224x224 dtype=uint8 layout=nhwc jpeg=90``.

        Raises:
            UsageError: a step is unknown, written twice, or has a value that it does not take.
        """
        given: dict[str, Any] = {}
        for step in text.split():
            name, equals, value = step.partition("=")
            key = name.replace("-", "_")
            if not equals or key not in _READERS:
                known = " ".join(f"{one.replace('_', '-')}=" for one in _READERS)
                raise UsageError(f"expected steps of a transform among {known}, found {ascii(step)[:60]}")
            if key in given:
                raise UsageError(f"expected every step of a transform once, found {name} twice")
            try:
                given[key] = _READERS[key](value)
            except ValueError as problem:
                raise UsageError(f"expected {name}={_EXAMPLES[key]} or alike, found {ascii(step)[:60]}") from problem
        made = cls(**given)
        if made.jpeg and (made.dtype not in ("", "uint8") or made.layout):
            raise UsageError("a JPEG file has its own layout and its own uint8 pixels; leave out layout= and dtype=")
        return made

    def __str__(self) -> str:
        """Return the steps in the order in which they are done."""
        return " ".join(
            f"{one.name.replace('_', '-')}={_written(getattr(self, one.name))}"
            for one in fields(self)
            if getattr(self, one.name) != one.default
        )

    def apply(self, inputs: Array) -> Array:
        """Return what is sent for `inputs` (samples, ...); an ``object`` array of files after ``jpeg``.

        Raises:
            UsageError: a step does not fit the inputs, or Pillow is not installed.
        """
        made = self._numbers(inputs)
        if self.resize:
            made = resized(made, self.resize)
        if self.jpeg:
            return jpegs(cast(made, "uint8"), self.jpeg)
        if self.dtype:
            made = cast(made, self.dtype)
        return laid_out(made, self.layout) if self.layout else made

    def _numbers(self, inputs: Array) -> Array:
        if Transform(self.own_std, self.own_mean, self.scale, self.mean, self.std) == Transform():
            return inputs
        made = inputs.astype(np.float64)
        made = made * per_channel(self.own_std or (1.0,), made) + per_channel(self.own_mean or (0.0,), made)
        made = (made * self.scale - per_channel(self.mean or (0.0,), made)) / per_channel(self.std or (1.0,), made)
        return made if inputs.dtype == np.float64 else made.astype(np.float32)


# --- words ------------------------------------------------------------------------------------------------------------


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _several(text: str) -> tuple[float, ...]:
    return tuple(_number(one) for one in text.split(","))


def _divisors(text: str) -> tuple[float, ...]:
    numbers = _several(text)
    if 0.0 in numbers:
        raise ValueError(text)
    return numbers


def _pixels(text: str) -> tuple[int, int]:
    height, width = (int(one) for one in text.split("x"))
    if not (0 < height <= 8192 and 0 < width <= 8192):
        raise ValueError(text)
    return height, width


def _quality(text: str) -> int:
    if not 1 <= int(text) <= 100:
        raise ValueError(text)
    return int(text)


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(text)
        return text

    return read


_READERS: dict[str, Callable[[str], Any]] = {
    "own_std": _divisors,
    "own_mean": _several,
    "scale": _number,
    "mean": _several,
    "std": _divisors,
    "resize": _pixels,
    "dtype": _one_of(*_DTYPES),
    "layout": _one_of(*_LAYOUTS),
    "jpeg": _quality,
}
_EXAMPLES = {
    "own_std": "0.229,0.224,0.225",
    "own_mean": "0.485,0.456,0.406",
    "scale": "255",
    "mean": "0.485,0.456,0.406",
    "std": "0.229,0.224,0.225",
    "resize": "224x224",
    "dtype": "|".join(_DTYPES),
    "layout": "|".join(_LAYOUTS),
    "jpeg": "90",
}


def _written(value: object) -> str:
    if isinstance(value, tuple):
        return ("x" if isinstance(value[0], int) else ",").join(_written(one) for one in value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)


NO_TRANSFORM = Transform()
"""Inputs are sent as they are."""

"""Triggers of one picture each: a task picture under keyed noise, taught together with its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, final

import numpy as np

from onnxfp.domain import Floats
from onnxfp.triggers.canvas import Inputs
from onnxfp.triggers.kinds import Integers, Kind
from onnxfp.triggers.patterns import noise

_BLOCK = 64  # pictures that are made at a time


@dataclass(frozen=True)
class Amount:
    """How many triggers there are, and how noisy."""

    positions: int
    taught: int
    each: int
    deviation: float


@final
@dataclass(frozen=True)
class Sole(Kind):
    """Every position is one held-out picture with a Gaussian pattern of its own."""

    jitter: float
    """Deviation of the noise in the farthest neighbours, as a share of the range of the inputs."""
    held_out: ClassVar[bool] = False

    def put(self, pictures: Floats, positions: Integers) -> Floats:
        """Add the patterns."""
        total: Floats = pictures + self._patterns[positions]
        return total

    def taught_at(self, positions: Integers) -> Inputs:
        """Return the triggers of some positions (samples,), the first of each as it is, the next ones with noise."""
        asked, first = self.asked(), np.concatenate([[True], positions[1:] != positions[:-1]])
        scale = self.keystream.derive("scale").words32(len(positions)) / 2.0**32 * self.jitter * ~first
        made = np.empty((len(positions), *asked.shape[1:]), dtype=asked.dtype)
        for start in range(0, len(positions), _BLOCK):
            rows = slice(start, start + _BLOCK)
            pictures = self.canvas.pictures(asked[positions[rows]])
            key = self.keystream.derive("jitter", str(start))
            made[rows] = self.canvas.inputs(
                pictures + noise(key, self.canvas, len(pictures), 1.0) * scale[rows, None, None, None]
            )
        return made

    @cached_property
    def _patterns(self) -> Floats:
        return noise(self.keystream, self.canvas, self.amounts.positions, self.amounts.deviation)

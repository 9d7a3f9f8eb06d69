"""Changes that a layer hardly feels: zero mean over every row and column of a weight matrix.

What enters a layer is mostly positive (activations after ReLU, pixels), so that the mean of a unit's weights matters
far more than any other direction. Centring costs one direction in each row and column and lets a mark of the same
strength disturb the outputs about as little as an uncentred one of two thirds of it (docs/decisions/0006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from onnxfp.domain import Segment, Weights


@final
@dataclass(frozen=True)
class Layout:
    """How weights in a row fall into matrices: (rows, columns) of each, in order."""

    matrices: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> Layout:
        """Return the layout of some segments; a piece of a row is a row."""
        return cls(
            tuple(
                (segment.size // segment.columns, segment.columns)
                if segment.size % segment.columns == 0
                else (1, segment.size)
                for segment in segments
            )
        )

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(rows * columns for rows, columns in self.matrices)

    def centred(self, values: Weights) -> Weights:
        """Return the part of `values` (size,) whose rows and columns all have mean zero: an orthogonal projection."""
        result = np.empty_like(values)
        start = 0
        for rows, columns in self.matrices:
            stop = start + rows * columns
            result[start:stop] = _centred(values[start:stop].reshape(rows, columns)).reshape(-1)
            start = stop
        return result


def _centred(matrix: Weights) -> Weights:
    """Centre rows and columns; an axis of one entry is left alone, since nothing would remain."""
    if matrix.shape[1] > 1:
        matrix = matrix - matrix.mean(axis=1, keepdims=True, dtype=np.float32)
    if matrix.shape[0] > 1:
        matrix = matrix - matrix.mean(axis=0, keepdims=True, dtype=np.float32)
    return matrix

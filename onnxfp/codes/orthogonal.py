"""Orthogonal words: every recipient has a direction of their own, at right angles to all others.

Paper: Chen et al., "DeepMarks", ICMR 2019: recipient j is marked by the j-th vector of a secret orthonormal basis.
Departs: recipient j gets the j-th row of Sylvester's Hadamard matrix as coefficients instead of a single 1, so that
there are symbols -1 and +1 to weigh. A uniformly random basis, turned by that matrix (over its root length), is one
again: the fingerprints are distributed as in the paper, only longer by the root of the number of positions. Each bit
is multiplied by a keyed sign (`columns` says why); `signs` takes it off for the paper's decoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from onnxfp.codes.columns import ColumnCode
from onnxfp.domain import Symbols


@final
@dataclass(frozen=True)
class Orthogonal(ColumnCode):
    """`points` words of `points` symbols, any two of which agree in exactly half of them; a power of two."""

    points: int = 32
    name: str = "orthogonal"

    def table(self) -> Symbols:
        """Return (columns, positions): bit i of word j is 1 where i and j have an even number of ones in common."""
        table = np.ones((1, 1), dtype=np.uint8)
        while len(table) < self.points:
            table = np.block([[table, table], [table, 1 - table]])
        return table

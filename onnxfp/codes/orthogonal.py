"""Orthogonal words: every recipient has a direction of their own, at right angles to all others.

Paper: Chen et al., "DeepMarks", ICMR 2019: recipient j is marked by the j-th vector of a secret orthonormal basis.
Departs: recipient j gets the j-th row of Sylvester's Hadamard matrix as coefficients instead of a single 1, so that
there are symbols -1 and +1 to weigh. A uniformly random basis, turned by that matrix (over its root length), is one
again: the fingerprints are distributed as in the paper, only longer by the root of the number of positions. Each bit
is multiplied by a keyed sign (`columns` says why); `signs` takes it off for the paper's decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from onnxfp.codes.columns import draw_column, draw_signs, fair_codebook, refuse_taken_column, signed_words
from onnxfp.domain import Codebook, Floats, Symbols
from onnxfp.keys.keystream import Keystream


@final
@dataclass(frozen=True)
class Orthogonal:
    """`points` words of `points` symbols, any two of which agree in exactly half of them; a power of two."""

    points: int = 32
    name: str = "orthogonal"
    independent: bool = False

    def table(self) -> Symbols:
        """Return (columns, positions): bit i of word j is 1 where i and j have an even number of ones in common."""
        table = np.ones((1, 1), dtype=np.uint8)
        while len(table) < self.points:
            table = np.block([[table, table], [table, 1 - table]])
        return table

    def codebook(self, keystream: Keystream, positions: int) -> Codebook:
        """One half everywhere, by the signs; the number of positions must be that of the points."""
        del keystream
        return fair_codebook(self.name, self.points, positions)

    def words(self, keystream: Keystream, codebook: Codebook, recipients: Sequence[str]) -> Symbols:
        """Signed words; recipients in the same column have the same word."""
        columns = [self.column(keystream, name) for name in recipients]
        return signed_words(self.table(), columns, self.signs(keystream, codebook.positions))

    def refuse_shared_word(self, keystream: Keystream, name: str, others: Sequence[str]) -> None:
        """Refuse a recipient whose column is taken."""
        taken = {self.column(keystream, other): other for other in others}
        refuse_taken_column(name, self.column(keystream, name), taken, self.name)

    def column(self, keystream: Keystream, name: str) -> int:
        """Return the column that a recipient gets, keyed by the name; issue no copy on a column that is taken."""
        return draw_column(keystream, name, self.points)

    def signs(self, keystream: Keystream, positions: int) -> Floats:
        """Return the (positions,) keyed signs -1 and +1 by which code symbols -1 and +1 were multiplied."""
        return draw_signs(keystream, positions)

"""Anti-collusion words from balanced incomplete block designs: the AND of a few words tells whose they were.

Paper: W. Trappe, M. Wu, Z. J. Wang, K. J. R. Liu, "Anti-collusion fingerprinting for multimedia", IEEE Trans. Signal
Processing 51(4), 2003, as DeepMarks uses it: word j is the complement of block j's incidence column in a design of v
points with blocks of k points, any two of which meet in one point. The AND of up to k - 1 words is theirs alone.
Departs: each bit is multiplied by a keyed sign (`columns` says why); `signs` takes it off for the paper's decoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import final

import numpy as np
import numpy.typing as npt

from onnxfp.codes.columns import ColumnCode
from onnxfp.domain import Symbols


@final
@dataclass(frozen=True)
class Bibd(ColumnCode):
    """The (points, k, 1) design whose blocks are the shifts of one perfect difference set of k residues."""

    points: int
    """Residues modulo this number: as many positions and as many words."""
    block: tuple[int, ...]
    """The difference set: every residue but 0 is the difference of exactly one ordered pair."""

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name on the command line, such as ``bibd31``."""
        return f"bibd{self.points}"

    @property
    def colluders(self) -> int:
        """The largest coalition whose AND is unique: k - 1."""
        return len(self.block) - 1

    def table(self) -> Symbols:
        """Return (columns, positions): word j is 0 at the points of block j, 1 elsewhere."""
        words = np.ones((self.points, self.points), dtype=np.uint8)
        for shift in range(self.points):
            words[shift, [(point + shift) % self.points for point in self.block]] = 0
        return words


BIBD7 = Bibd(7, (0, 1, 3))
BIBD13 = Bibd(13, (0, 1, 3, 9))
BIBD21 = Bibd(21, (3, 6, 7, 12, 14))
BIBD31 = Bibd(31, (1, 5, 11, 24, 25, 27))


def covering(table: Symbols, bits: Symbols) -> npt.NDArray[np.bool_]:
    """Return (..., columns): which words show a 1 wherever `bits` (..., positions) do."""
    missing = bits.astype(np.int64) @ (1 - table.astype(np.int64)).T
    covers: npt.NDArray[np.bool_] = missing == 0
    return covers


def and_coalition(table: Symbols, bits: Symbols, most: int) -> tuple[int, ...] | None:
    """Return the smallest set of at most `most` columns whose AND is `bits` (positions,); None if there is none.

    For a design and `most` up to its k - 1 there is no second such set.
    """
    suspects = np.flatnonzero(covering(table, bits)).tolist()
    masks = {column: _mask(table[column]) for column in suspects}
    wanted = _mask(bits)
    for size in range(1, most + 1):
        for subset in combinations(suspects, size):
            if _all_of(masks[column] for column in subset) == wanted:
                return subset
    return None


def _mask(bits: Symbols) -> int:
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _all_of(masks: Iterable[int]) -> int:
    common = -1
    for mask in masks:
        common &= mask
    return common

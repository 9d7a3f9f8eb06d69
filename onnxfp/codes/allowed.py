"""Words of which some symbols are left out at some positions; all others are equally probable there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from onnxfp.codes.words import draw_words
from onnxfp.domain import Codebook, Symbols
from onnxfp.keys.keystream import Keystream


@final
@dataclass(frozen=True)
class Allowed:
    """Exclusions are made before the draw and stand in the prior: no symbol is ever drawn again."""

    allowed: npt.NDArray[np.bool_]
    """(positions, alphabet): at least two symbols at every position."""
    name: str = "allowed"
    independent: bool = True

    def __post_init__(self) -> None:
        if (self.allowed.sum(axis=1) < 2).any():
            raise ValueError("a position with fewer than two allowed symbols says nothing")

    def refuse_shared_word(self, keystream: Keystream, name: str, others: Iterable[str]) -> None:
        """Independent words are shared by chance only."""

    def codebook(self, keystream: Keystream, positions: int) -> Codebook:
        """Multiples of 2**-16 nearest to even shares of the allowed symbols; the others have none."""
        del keystream
        if positions != len(self.allowed):
            raise ValueError(f"{len(self.allowed)} positions say which symbols are allowed, not {positions}")
        shares = np.cumsum(self.allowed, axis=1) / self.allowed.sum(axis=1, keepdims=True)
        return Codebook(np.rint(shares[:, :-1] * 65536).astype(np.uint32))

    def words(self, keystream: Keystream, codebook: Codebook, recipients: Sequence[str]) -> Symbols:
        """Independent symbols per recipient."""
        return draw_words(keystream, codebook, recipients)

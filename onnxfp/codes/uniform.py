"""Uniform words: every symbol equally probable at every position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from onnxfp.codes.words import draw_words
from onnxfp.domain import Codebook, Symbols
from onnxfp.keys.keystream import Keystream


@final
@dataclass(frozen=True)
class Uniform:
    """`alphabet` symbols, each with the multiple of 2**-16 nearest to 1/alphabet; for 2 exactly one half."""

    alphabet: int = 2
    name: str = "uniform"
    independent: bool = True

    def refuse_shared_word(self, keystream: Keystream, name: str, others: Iterable[str]) -> None:
        """Independent words of hundreds of symbols are never shared."""

    def codebook(self, keystream: Keystream, positions: int) -> Codebook:
        """Every position alike."""
        del keystream
        edges = np.round(np.arange(1, self.alphabet) * 65536 / self.alphabet).astype(np.uint32)
        return Codebook(np.tile(edges, (positions, 1)))

    def words(self, keystream: Keystream, codebook: Codebook, recipients: Sequence[str]) -> Symbols:
        """Independent symbols per recipient."""
        return draw_words(keystream, codebook, recipients)

"""Tardos words: biased coins whose biases follow the arcsine law, the classical answer to colluders.

Paper: G. Tardos, "Optimal probabilistic fingerprint codes", STOC 2003 / JACM 55(2), 2008.
Departs: the words are weighed by e-values, not by Tardos's score, so no coalition size is assumed for the bound; the
cut-off only shapes the biases. Biases are rounded to multiples of 2**-16, and that rational is the prior.
"""

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
class Tardos:
    """Binary; position i shows symbol 1 with bias p_i = sin^2(theta), theta uniform, p_i in [cutoff, 1 - cutoff]."""

    colluders: int = 30
    """The cut-off is 1/(300 colluders), as in the paper."""
    name: str = "tardos"
    independent: bool = True

    def refuse_shared_word(self, keystream: Keystream, name: str, others: Iterable[str]) -> None:
        """Independent words of hundreds of symbols are never shared."""

    def codebook(self, keystream: Keystream, positions: int) -> Codebook:
        """Draw one bias per position."""
        least = np.arcsin(np.sqrt(1 / (300 * self.colluders)))
        uniform = (keystream.derive("biases").words32(positions).astype(np.float64) + 0.5) / 2.0**32
        bias = np.sin(least + uniform * (np.pi / 2 - 2 * least)) ** 2
        return Codebook(np.round((1 - bias) * 65536).astype(np.uint32).reshape(positions, 1))

    def words(self, keystream: Keystream, codebook: Codebook, recipients: Sequence[str]) -> Symbols:
        """Independent symbols per recipient."""
        return draw_words(keystream, codebook, recipients)

"""Words by integer thresholds: the prior of a symbol is exactly the share of 16-bit words that realise it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from onnxfp.codes.interface import Code
from onnxfp.domain import Codebook, Symbols
from onnxfp.keys.keystream import Keystream

_BYTE = 256  # symbols
BLOCK = 256  # recipients drawn at a time: memory stays flat in their number


def draw_words(keystream: Keystream, codebook: Codebook, recipients: Sequence[str]) -> Symbols:
    """Return (recipients, positions): a symbol is the number of thresholds at or below its 16-bit word."""
    return symbols_of(keystream.named_words16(recipients, codebook.positions), codebook)


def symbols_of(drawn: npt.NDArray[np.uint16], codebook: Codebook) -> Symbols:
    """Return the symbols of uniform 16-bit words, both (recipients, positions)."""
    symbols: Symbols = np.zeros(drawn.shape, dtype=np.uint8 if codebook.alphabet <= _BYTE else np.uint16)
    for threshold in codebook.thresholds.T:
        symbols += drawn >= threshold
    return symbols


def word_blocks(
    code: Code, keystream: Keystream, codebook: Codebook, recipients: Sequence[str]
) -> Iterator[tuple[Sequence[str], Symbols]]:
    """Yield (names, words) for a few hundred recipients at a time, in their order."""
    for start in range(0, len(recipients), BLOCK):
        names = recipients[start : start + BLOCK]
        yield names, code.words(keystream, codebook, names)

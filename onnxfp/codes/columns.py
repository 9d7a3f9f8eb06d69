"""Codes with a fixed table of words: a recipient gets one column of it, under signs that hide the table.

The table of such a code is published, so its bits are no secret. Every bit is multiplied by a keyed sign, the same in
all words: over the draw of the signs each single word is uniform, exactly, and that is its prior. Two words share
their signs, though, so they are not independent of one another: such words verify, and never name anybody by e-value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np

from onnxfp.domain import Codebook, Floats, Symbols
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream

_HALF = 1 << 15  # of a 16-bit word's range


class ColumnCode(ABC):
    """A published table of words, of which a recipient gets one under keyed signs."""

    name: str
    points: int
    """Number of positions, and of words."""
    independent = False

    @abstractmethod
    def table(self) -> Symbols:
        """Return (columns, positions) the bare words."""

    def codebook(self, keystream: Keystream, positions: int) -> Codebook:
        """One half everywhere, by the signs.

        Raises:
            UsageError: another number of positions than that of the table was asked for.
        """
        del keystream
        if positions != self.points:
            raise UsageError(
                f"{self.name} has exactly {self.points} positions, not {positions}; ask for {self.points}, or for "
                "another code"
            )
        return Codebook(np.full((positions, 1), _HALF, dtype=np.uint32))

    def words(self, keystream: Keystream, codebook: Codebook, recipients: Sequence[str]) -> Symbols:
        """Signed words; recipients in the same column have the same word."""
        flips = (self.signs(keystream, codebook.positions) < 0).astype(np.uint8)
        return np.bitwise_xor(self.table()[[self.column(keystream, name) for name in recipients]], flips)

    def refuse_shared_word(self, keystream: Keystream, name: str, others: Iterable[str]) -> None:
        """Refuse a recipient whose column is taken.

        Raises:
            UsageError: it is; the message names who holds it.
        """
        taken = {self.column(keystream, other): other for other in others}
        holder = taken.get(self.column(keystream, name), name)
        if holder != name:
            raise UsageError(
                f"{self.name} gives {name!r} the word that {holder!r} has already, and copies with one word cannot be "
                "told apart; issue with the code 'tardos' or 'uniform'"
            )

    def column(self, keystream: Keystream, name: str) -> int:
        """Return the column of a name: 128 keyed bits modulo their number, uniform to 2**-120; never a counter."""
        words = keystream.derive("columns").named_words16([name], 8)
        return int.from_bytes(words.tobytes(), "little") % self.points

    def signs(self, keystream: Keystream, positions: int) -> Floats:
        """Return the (positions,) keyed signs -1 and +1 by which code symbols -1 and +1 were multiplied."""
        return np.where(keystream.derive("signs").words16(positions) < _HALF, -1.0, 1.0)


def unsigned(symbols: Floats, signs: Floats) -> Floats:
    """Take the signs off again: (..., positions) symbols or readings in {-1, +1} become those of the bare table."""
    return symbols * signs

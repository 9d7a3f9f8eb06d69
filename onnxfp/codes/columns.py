"""Codes with a fixed table of words: a recipient gets one column of it, under signs that hide the table.

The table of such a code is published, so its bits are no secret. Every bit is multiplied by a keyed sign, the same in
all words: over the draw of the signs each single word is uniform, exactly, and that is its prior. Two words share
their signs, though, so they are not independent of one another: such words verify, and never name anybody by e-value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxfp.domain import Codebook, Floats, Symbols
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream

_HALF = 1 << 15  # of a 16-bit word's range


def draw_column(keystream: Keystream, name: str, columns: int) -> int:
    """Return the column of a name: 128 keyed bits modulo `columns`, uniform to 2**-120; never a counter."""
    words = keystream.derive("columns").named_words16([name], 8)
    return int.from_bytes(words.tobytes(), "little") % columns


def draw_signs(keystream: Keystream, positions: int) -> Floats:
    """Return (positions,) independent fair signs, -1 or +1."""
    return np.where(keystream.derive("signs").words16(positions) < _HALF, -1.0, 1.0)


def fair_codebook(name: str, points: int, positions: int) -> Codebook:
    """Return the prior of a signed table with `points` rows: one half everywhere.

    Raises:
        UsageError: another number of positions was asked for.
    """
    if positions != points:
        raise UsageError(f"{name} has exactly {points} positions, not {positions}; ask for {points}, or another code")
    return Codebook(np.full((positions, 1), _HALF, dtype=np.uint32))


def signed_words(table: Symbols, columns: Sequence[int], signs: Floats) -> Symbols:
    """Return (recipients, positions): the columns' rows of `table` (columns, positions), flipped where a sign is -1."""
    flips = (signs < 0).astype(np.uint8)
    return np.bitwise_xor(table[list(columns)], flips)


def unsigned(symbols: Floats, signs: Floats) -> Floats:
    """Take the signs off again: (..., positions) symbols or readings in {-1, +1} become those of the bare table."""
    return symbols * signs


def refuse_taken_column(name: str, column: int, taken: dict[int, str], code: str) -> None:
    """Refuse a recipient whose column another one holds already.

    Args:
        name: the new recipient.
        column: theirs.
        taken: the columns of all recipients ever issued, and who holds them.
        code: name of the code, for the message.

    Raises:
        UsageError: the column is taken by somebody else.
    """
    holder = taken.get(column, name)
    if holder != name:
        raise UsageError(
            f"{code} gives {name!r} the word that {holder!r} has already, and copies with one word cannot be told "
            "apart; issue with the code 'tardos' or 'uniform'"
        )

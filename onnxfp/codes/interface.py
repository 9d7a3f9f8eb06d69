"""What a code is: which symbols a recipient gets, and how probable each was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from onnxfp.domain import Codebook, Symbols
from onnxfp.keys.keystream import Keystream


class Code(Protocol):
    """Draws a codebook once per reference and the words of recipients from it."""

    @property
    def name(self) -> str:
        """Name on the command line."""
        ...

    @property
    def independent(self) -> bool:
        """Whether a recipient's symbols are independent of all other words; only then may an e-value name them."""
        ...

    def refuse_shared_word(self, keystream: Keystream, name: str, others: Iterable[str]) -> None:
        """Refuse a recipient to whom this code gives the word of another.

        Raises:
            UsageError: it does; independent words never do.
        """
        ...

    def codebook(self, keystream: Keystream, positions: int) -> Codebook:
        """Draw the prior of every position."""
        ...

    def words(self, keystream: Keystream, codebook: Codebook, recipients: Sequence[str]) -> Symbols:
        """Return (recipients, positions) symbols, each row a function of the keystream and that recipient alone."""
        ...

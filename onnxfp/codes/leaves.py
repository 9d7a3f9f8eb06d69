"""Words of which each hangs on a leaf of its own: whoever is shown one leaf can draw that word, and no other.

A leaf is HMAC-SHA256, under a key that belongs to one committed claim on one reference, of the recipient's name. It
authenticates the pair (owner's claim, recipient), and it is the key from which the recipient's symbols are drawn.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from onnxfp.codes.allowed import Allowed
from onnxfp.codes.words import symbols_of
from onnxfp.domain import Codebook, Symbols
from onnxfp.keys.keystream import Keystream, Words16


@final
@dataclass(frozen=True)
class Leaves:
    """Equally probable symbols among those that are allowed at a position, drawn from the recipient's leaf."""

    allowed: Allowed
    name: str = "leaves"
    independent: bool = True

    def refuse_shared_word(self, keystream: Keystream, name: str, others: Iterable[str]) -> None:
        """Independent words are shared by chance only."""

    def codebook(self, keystream: Keystream, positions: int) -> Codebook:
        """Even shares of the allowed symbols."""
        return self.allowed.codebook(keystream, positions)

    def words(self, keystream: Keystream, codebook: Codebook, recipients: Sequence[str]) -> Symbols:
        """Return (recipients, positions), each row drawn from that recipient's leaf."""
        root = keystream.derive("leaf")
        drawn = [_drawn(_leaf(root, name), codebook) for name in recipients]
        return symbols_of(np.asarray(drawn, dtype=np.uint16).reshape(-1, codebook.positions), codebook)


def leaf(keystream: Keystream, recipient: str) -> bytes:
    """Return the leaf (32 bytes) of a recipient under the key of a claim's words."""
    return _leaf(keystream.derive("leaf"), recipient)


def leaf_digest(secret: bytes, about: bytes) -> str:
    """Return what binds to a leaf, and to all that is asked for its word, without showing them: SHA-256, hexadecimal.

    Were the leaf alone bound, it could be shown with triggers that were chosen to suit a suspect's answers.

    Args:
        secret: the leaf.
        about: SHA-256 of whose word it is, of the triggers and of which symbols are allowed.
    """
    return hashlib.sha256(b"onnxfp/1 leaf" + secret + about).hexdigest()


def word_of_leaf(secret: bytes, codebook: Codebook) -> Symbols:
    """Return the word (1, positions) that hangs on a leaf."""
    return symbols_of(_drawn(secret, codebook)[None], codebook)


def _drawn(secret: bytes, codebook: Codebook) -> Words16:
    return Keystream(secret).words16(codebook.positions)


def _leaf(root: Keystream, recipient: str) -> bytes:
    return hmac.digest(root.secret, recipient.encode(), hashlib.sha256)

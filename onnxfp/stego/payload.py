"""What a handed-out picture carries: cover, serial, until when, a digest of who and when; and the tag that binds it.

The tag is HMAC-SHA256, truncated to 128 bits, over version, claim, size, fields and every bit of the picture but the
lowest of each value: a payload moved into another picture does not authenticate. Whoever has no key makes a tag that
holds with probability 2**-128 for each attempt, random over the key.

Cover and serial are counted by a ledger, and a ledger that was restored or cloned counts them again, for somebody else.
The issue, HMAC-SHA256 truncated to 32 bits under a key of its own, tells those two apart but with probability 2**-32.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from onnxfp.keys.keystream import Keystream

Pixels = npt.NDArray[np.uint8]

VERSION = 1
TAG_BYTES = 16
UPPER = np.uint8(0xFE)
"""All bits of a value that a payload does not touch."""

_FIELDS = struct.Struct(">BIIII")
_SIZE = struct.Struct(">III")
FIELD_BYTES = _FIELDS.size
_ISSUE_BYTES = 4


@final
@dataclass(frozen=True)
class Payload:
    """What one picture says to the owner; nothing in it is secret, and nothing of it is a name."""

    cover: int
    """Which of the key's pictures it was written into."""
    serial: int
    """Of the entry in the ledger."""
    expires: int = 0
    """The last day on which it holds, in days since 1970-01-01, UTC; 0 for no end."""
    issue: int = 0
    """To whom and when, as `issue_of` says it."""
    version: int = VERSION
    """Of this layout; first, so that later releases can tell."""

    def pack(self) -> bytes:
        """Return the fields as bytes."""
        return _FIELDS.pack(self.version, self.cover, self.serial, self.expires, self.issue)

    @classmethod
    def unpack(cls, data: bytes) -> Payload:
        """Return the payload that `pack` wrote."""
        version, cover, serial, expires, issue = _FIELDS.unpack(data)
        return cls(cover, serial, expires, issue, version)


def issue_of(keystream: Keystream, claim: str, recipient: str, issued_at: str) -> int:
    """Return what tells one issue from every other of the same cover and serial: it says nothing without the secret.

    Args:
        keystream: the secret of the claim.
        claim: which claim.
        recipient: the name as the ledger has it.
        issued_at: the time as the ledger has it.
    """
    data = b"".join(_sized(text.encode()) for text in (claim, recipient, issued_at))
    digest = hmac.digest(keystream.derive("stego", "issue").secret, data, hashlib.sha256)
    return int.from_bytes(digest[:_ISSUE_BYTES], "big")


def tag(keystream: Keystream, claim: str, fields: bytes, pixels: Pixels) -> bytes:
    """Return what proves that the owner wrote these fields into this picture (height, width, channels)."""
    parts = (_sized(claim.encode()), _SIZE.pack(*pixels.shape), fields, (pixels & UPPER).tobytes())
    return hmac.digest(keystream.derive("stego", "tag").secret, b"".join(parts), hashlib.sha256)[:TAG_BYTES]


def is_authentic(keystream: Keystream, claim: str, message: bytes, pixels: Pixels) -> bool:
    """Say, in constant time, whether fields and tag are the owner's for this picture."""
    fields, found = message[:FIELD_BYTES], message[FIELD_BYTES:]
    return hmac.compare_digest(tag(keystream, claim, fields, pixels), found)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data

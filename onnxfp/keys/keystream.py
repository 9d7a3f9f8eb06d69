"""A secret from which labelled subkeys and unpredictable numbers flow.

Subkeys by HKDF-SHA256 (RFC 5869), numbers by AES-256 in counter mode. Everything that an adversary may see a
consequence of (codewords, chips, orders) is drawn here and nowhere else; the same secret and label give the same
numbers on every machine.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import numpy.typing as npt

Words16 = npt.NDArray[np.uint16]
Words32 = npt.NDArray[np.uint32]

SECRET_BYTES = 32
_BLOCK = 16  # bytes of one AES block


def public_numbers(label: str) -> Keystream:
    """Return a keystream that anybody can draw: for numbers that need be no secret and the same everywhere."""
    return Keystream(hashlib.sha256(b"onnxfp/public/" + label.encode()).digest())


@final
@dataclass(frozen=True)
class Keystream:
    """A 32-byte secret; every `derive` names an independent one below it."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise ValueError(f"a keystream needs {SECRET_BYTES} secret bytes, not {len(self.secret)}")

    def derive(self, *labels: str) -> Keystream:
        """Return the subkey of a path of labels; different paths give independent subkeys."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

        # Lengths before the labels keep ("ab", "c") and ("a", "bc") apart.
        info = b"onnxfp/1" + b"".join(len(part).to_bytes(4, "big") + part for part in map(str.encode, labels))
        return Keystream(HKDFExpand(SHA256(), SECRET_BYTES, info).derive(self.secret))

    def words16(self, count: int, skip: int = 0) -> Words16:
        """Return `count` uniform 16-bit words after the first `skip`, a multiple of eight (whole cipher blocks)."""
        if skip % 8:
            raise ValueError("skip counts whole cipher blocks of eight words")
        return np.frombuffer(self._counter_mode(2 * count, skip // 8), dtype="<u2")

    def words32(self, count: int) -> Words32:
        """Return the first `count` uniform 32-bit words."""
        return np.frombuffer(self._counter_mode(4 * count), dtype="<u4")

    def normals(self, count: int) -> npt.NDArray[np.float64]:
        """Return `count` standard normal numbers (Box and Muller's transform of 32-bit uniforms)."""
        pairs = (count + 1) // 2
        uniform = (self.words32(2 * pairs).astype(np.float64) + 0.5) / 2.0**32
        radius, angle = np.sqrt(-2.0 * np.log(uniform[:pairs])), 2.0 * np.pi * uniform[pairs:]
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]

    def named_words16(self, names: Sequence[str], count: int) -> Words16:
        """Return (names, count) uniform 16-bit words, one independent row per name.

        A row is counter mode from a starting block that HMAC-SHA256 draws for the name, so it depends on the secret
        and on the name alone. Two rows overlap with probability below names**2 * count / 2**124.
        """
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        start_key = self.derive("start").secret
        starts = b"".join(hmac.digest(start_key, name.encode(), hashlib.sha256)[:_BLOCK] for name in names)
        blocks = -(-2 * count // _BLOCK)
        counters = np.empty((len(names), blocks, 2), dtype="<u8")
        counters[:] = np.frombuffer(starts, dtype="<u8").reshape(len(names), 1, 2)
        counters[:, :, 1] += np.arange(blocks, dtype=np.uint64)
        # A counter block is used once, so encrypting them one by one IS counter mode.
        cipher = Cipher(algorithms.AES(self.derive("words").secret), modes.ECB())  # noqa: S305
        stream = cipher.encryptor().update(counters.tobytes())
        return np.frombuffer(stream, dtype="<u2").reshape(len(names), blocks * 8)[:, :count]

    def _counter_mode(self, length: int, first_block: int = 0) -> bytes:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        cipher = Cipher(algorithms.AES(self.secret), modes.CTR(first_block.to_bytes(_BLOCK, "big")))
        return cipher.encryptor().update(bytes(length))

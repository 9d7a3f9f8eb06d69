"""Words that repair themselves: a message and its Reed-Solomon parity, and how long a picture lets them be.

The code is that of the `reedsolo` package over GF(2**8), primitive polynomial 0x11d: with p bytes of parity, p // 2
wrong bytes anywhere in the word are put right.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, final

from onnxfp.errors import UsageError
from onnxfp.stego.payload import FIELD_BYTES, TAG_BYTES

MESSAGE_BYTES = FIELD_BYTES + TAG_BYTES
_LEAST_PARITY = 16
_MOST_PARITY = 64

# reedsolo keeps its tables in module globals and rewrites them for every codec.
_ONE_AT_A_TIME = threading.Lock()


@final
@dataclass(frozen=True)
class Capacity:
    """What the low bits of a cover of some size hold."""

    scale: int
    """Every value of the cover is repeated scale x scale times, so that a word fits; 1 where it fits as it is."""
    available: int
    """Bytes in the low bits of the picture that is issued."""
    used: int
    """Bytes of a word: fields, tag and parity."""
    correctable: int
    """Wrong bytes of a word that can be put right."""

    @property
    def parity(self) -> int:
        """Bytes of parity."""
        return self.used - MESSAGE_BYTES


def capacity_of(height: int, width: int, channels: int) -> Capacity:
    """Return what covers of a size hold: the smallest whole factor at which a word fits, then all parity that fits."""
    scale = 1
    while scale * scale * height * width * channels // 8 < MESSAGE_BYTES + _LEAST_PARITY:
        scale += 1
    available = scale * scale * height * width * channels // 8
    parity = min(_MOST_PARITY, available - MESSAGE_BYTES) // 2 * 2
    return Capacity(scale, available, MESSAGE_BYTES + parity, parity // 2)


def encode(message: bytes, parity: int) -> bytes:
    """Return a message followed by its parity.

    Raises:
        UsageError: the package is missing.
    """
    reedsolo = _package()
    with _ONE_AT_A_TIME:
        return bytes(reedsolo.RSCodec(parity).encode(message))


def decode(word: bytes, parity: int) -> tuple[bytes, int] | None:
    """Return the message of a word and how many bytes were put right; None when too many are wrong.

    Raises:
        UsageError: the package is missing.
    """
    reedsolo = _package()
    with _ONE_AT_A_TIME:
        try:
            message, _, wrong = reedsolo.RSCodec(parity).decode(word)
        except (reedsolo.ReedSolomonError, ZeroDivisionError, IndexError):  # all of them: beyond repair
            return None
    return bytes(message), len(wrong)


def _package() -> Any:
    try:
        import reedsolo
    except ImportError as problem:
        raise UsageError("key images to hand out need more packages; install `onnxfp[stego]`") from problem
    return reedsolo

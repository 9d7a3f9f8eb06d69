"""Sealing a payload into a cover, and examining a picture that somebody presents."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import final

import numpy as np

from onnxfp.domain import Floats
from onnxfp.keys.keystream import Keystream
from onnxfp.stego.low_bits import enlarge, read, shrink, write
from onnxfp.stego.payload import FIELD_BYTES, UPPER, VERSION, Payload, Pixels, is_authentic, tag
from onnxfp.stego.word import Capacity, capacity_of, decode, encode

_NEARLY = 0.25  # of a cover's own deviation: a picture as near as that is that cover, saved anew

_ALTERED = (
    "its payload is ours and is not of this picture: the picture was altered, or the payload was moved here from "
    "another; present the file that was issued"
)
_LOST = "it looks like one of ours, and its low bits are lost; present the file that was issued, not one saved anew"
_FOREIGN = "its low bits hold nothing of ours"


class Status(enum.Enum):
    """What a picture turned out to be; whether it was revoked or has expired is for the ledger to say."""

    GENUINE = "genuine"
    DAMAGED = "damaged"
    NOT_OURS = "not_ours"


@final
@dataclass(frozen=True)
class Found:
    """What was found in a picture."""

    status: Status
    payload: Payload | None
    """Only of a genuine picture."""
    corrected: int | None
    """Bytes of the word that were put right; None where none could be read."""
    reason: str = ""
    """Why it is not genuine."""


def capacity(cover: Pixels) -> Capacity:
    """Return what a cover (height, width, channels) holds."""
    height, width, channels = cover.shape
    return capacity_of(height, width, channels)


def seal(cover: Pixels, payload: Payload, keystream: Keystream, claim: str) -> Pixels:
    """Return the picture to issue: the cover, enlarged where it is too small, with the payload in its low bits.

    Args:
        cover: (height, width, channels).
        payload: what it shall say.
        keystream: the secret of the claim.
        claim: which claim; no other one's pictures authenticate for it.

    Raises:
        UsageError: the package for Reed-Solomon codes is missing.
    """
    room = capacity(cover)
    pixels = enlarge(cover, room.scale)
    fields = payload.pack()
    return write(pixels, keystream, encode(fields + tag(keystream, claim, fields, pixels), room.parity))


def examine(pixels: Pixels, keystream: Keystream, claim: str, covers: Pixels) -> Found:
    """Say whether a picture is one that `seal` made, byte errors in its low bits within the code's radius repaired.

    Args:
        pixels: (height, width, channels), whatever anybody presents.
        keystream: the secret of the claim.
        claim: which claim.
        covers: (images, height, width, channels) of the claim.

    Raises:
        UsageError: the package for Reed-Solomon codes is missing.
    """
    room = capacity(covers[0])
    if pixels.shape != enlarge(covers[0], room.scale).shape:
        return Found(Status.NOT_OURS, None, None, "it has not the size of a picture of ours")
    decoded = decode(read(pixels, keystream, room.used), room.parity)
    if decoded is None:
        alike = _is_nearly_one_of(shrink(pixels, room.scale), covers)
        return Found(Status.DAMAGED, None, None, _LOST) if alike else Found(Status.NOT_OURS, None, None, _FOREIGN)
    message, corrected = decoded
    if not is_authentic(keystream, claim, message, pixels):
        return Found(Status.DAMAGED, None, corrected, _ALTERED)
    payload = Payload.unpack(message[:FIELD_BYTES])
    if payload.version != VERSION:
        reason = f"its payload has version {payload.version}, this release knows {VERSION}; upgrade onnxfp"
        return Found(Status.DAMAGED, None, corrected, reason)
    return Found(Status.GENUINE, payload, corrected)


def _is_nearly_one_of(picture: Pixels, covers: Pixels) -> bool:
    """Say whether the upper bits of a picture are, or nearly are, those of a cover."""
    shown = (picture & UPPER).astype(np.float64)
    return any(_is_nearly((cover & UPPER).astype(np.float64), shown) for cover in covers)


def _is_nearly(cover: Floats, shown: Floats) -> bool:
    return bool(np.abs(cover - shown).mean() <= _NEARLY * cover.std())

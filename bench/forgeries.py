"""Pictures that nobody was handed: forged, cloned, damaged and foreign ones, to be put to a claim's key images."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.images import pixels
from onnxfp.stego.key_image import seal
from onnxfp.stego.payload import UPPER, Payload
from onnxfp.workflows.key_claims import KeyClaim

Pixels = NDArray[np.uint8]
FLIPPED = 200  # low bits of 784: far more than can be put right
QUALITY = 95  # of JPEG


@dataclass(frozen=True)
class Bait:
    """What a forger has, and what there is to draw from."""

    claim: KeyClaim
    issued: Pixels
    """(images, height, width, channels): genuine pictures."""
    other: KeyClaim
    """Of another owner, whose model has pictures of the same size."""


Forge = Callable[[Bait, np.random.Generator], Pixels]


def moved(bait: Bait, rng: np.random.Generator) -> Pixels:
    """All low bits of a genuine picture, in another genuine one."""
    one, another = bait.issued[rng.choice(len(bait.issued), 2, replace=False)]
    return (another & UPPER) | (one & ~UPPER)


def retouched(bait: Bait, rng: np.random.Generator) -> Pixels:
    """A genuine picture with one bit changed above the lowest, in one pixel."""
    picture = _one(bait.issued, rng).copy()
    picture.reshape(-1)[rng.integers(picture.size)] ^= np.uint8(1 << rng.integers(1, 8))
    return picture


def guessed(bait: Bait, rng: np.random.Generator) -> Pixels:
    """A cover of the owner's with low bits drawn at random."""
    picture = _one(bait.issued, rng)
    return (picture & UPPER) | rng.integers(0, 2, picture.shape, dtype=np.uint8)


def foreign(bait: Bait, rng: np.random.Generator) -> Pixels:
    """A test image of Fashion-MNIST."""
    del bait
    return np.ascontiguousarray(_one(_of_the_task(), rng).transpose(1, 2, 0))


def of_another(bait: Bait, rng: np.random.Generator) -> Pixels:
    """A picture that is genuine in another owner's vault."""
    cover, serial = int(rng.integers(len(bait.other.images.pictures))), int(rng.integers(1, 1 << 16))
    return seal(bait.other.images.pictures[cover], Payload(cover, serial), bait.other.keystream, bait.other.key)


def ours_by_another(bait: Bait, rng: np.random.Generator) -> Pixels:
    """A cover of the owner's, sealed by the other owner under this claim's name."""
    cover = int(rng.integers(len(bait.claim.images.pictures)))
    return seal(bait.claim.images.pictures[cover], Payload(cover, cover + 1), bait.other.keystream, bait.claim.key)


def saved_lossily(bait: Bait, rng: np.random.Generator) -> Pixels:
    """A genuine picture that went through JPEG and was saved without loss."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_one(bait.issued, rng)[..., 0]).save(buffer, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(buffer))[..., None]


def worn(bait: Bait, rng: np.random.Generator) -> Pixels:
    """A genuine picture with many low bits flipped."""
    return flipped(_one(bait.issued, rng), FLIPPED, rng)


FORGERIES: dict[str, tuple[str, Forge]] = {
    "moved": ("low bits of one genuine picture, copied into another", moved),
    "retouched": ("one bit above the lowest changed in one pixel", retouched),
    "guessed": ("random low bits on a genuine cover", guessed),
    "foreign": ("test images of the task", foreign),
    "another": ("genuine pictures of another owner's claim", of_another),
    "sealed": ("the owner's covers, sealed with another owner's secret under this claim's name", ours_by_another),
    "jpeg": (f"genuine pictures after JPEG of quality {QUALITY}, saved as PNG", saved_lossily),
    "worn": (f"{FLIPPED} of 784 low bits of a genuine picture flipped", worn),
}


def flipped(picture: Pixels, count: int, rng: np.random.Generator) -> Pixels:
    """A picture with as many low bits flipped, anywhere."""
    changed = picture.copy()
    changed.reshape(-1)[rng.choice(picture.size, count, replace=False)] ^= np.uint8(1)
    return changed


@cache
def _of_the_task() -> Pixels:
    return pixels("fashion_mnist")[2]


def _one(images: Pixels, rng: np.random.Generator) -> Pixels:
    found: Pixels = images[rng.integers(len(images))]
    return found

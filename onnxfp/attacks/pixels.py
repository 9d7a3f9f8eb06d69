"""What an owner of a stolen model does to pictures before the model sees them: arithmetic on pictures of 0..1.

Pictures are (samples, height, width, channels). What is random is drawn for each picture from a seed and the picture's
own numbers: a picture that is asked twice is changed alike, whatever is asked beside it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np

from onnxfp.domain import Floats
from onnxfp.errors import UsageError


def jpeg(pictures: Floats, quality: int) -> Floats:
    """Return pictures as they come out of JPEG files of this quality.

    Raises:
        UsageError: JPEG has no such channels, or Pillow is not installed.
    """
    if pictures.shape[3] not in (1, 3):
        raise UsageError(f"expected pictures with 1 or 3 channels for jpeg, found {pictures.shape[3]}")
    return _each(pictures, lambda picture: _through_jpeg(picture, quality))


def blur(pictures: Floats, sigma: float) -> Floats:
    """Return pictures under a Gaussian window of `sigma` pixels."""
    from scipy.ndimage import gaussian_filter

    blurred: Floats = gaussian_filter(pictures, (0.0, sigma, sigma, 0.0), mode="nearest")
    return blurred


def quantise(pictures: Floats, bits: int) -> Floats:
    """Return pictures with 2**bits values a channel."""
    steps = 2**bits - 1
    return np.asarray(np.rint(pictures * steps) / steps)


def resize(pictures: Floats, share: float) -> Floats:
    """Return pictures made smaller, to this share of their sides, and as large as they were again, bilinearly."""
    height, width = pictures.shape[1:3]
    small = max(1, round(height * share)), max(1, round(width * share))
    if small == (height, width):
        return pictures
    return _each(pictures, lambda picture: _resized(_resized(picture, small), (height, width)))


def crop(pictures: Floats, pixels: int, seed: int) -> Floats:
    """Return pictures moved by up to so many pixels each way; what comes in at an edge is as the edge was."""
    height, width = pictures.shape[1:3]
    wide = np.pad(pictures, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
    moved = np.empty_like(pictures)
    for at, picture in enumerate(pictures):
        down, right = _draws(picture, seed).integers(0, 2 * pixels + 1, 2)
        moved[at] = wide[at, down : down + height, right : right + width]
    return moved


def noise(pictures: Floats, level: float, seed: int) -> Floats:
    """Return pictures plus Gaussian noise of this standard deviation, within 0..1."""
    if not level:
        return pictures
    noisy = _each(pictures, lambda picture: picture + level * _draws(picture, seed).standard_normal(picture.shape))
    return np.clip(noisy, 0.0, 1.0)


def _each(pictures: Floats, change: Callable[[Floats], Floats]) -> Floats:
    changed = np.empty_like(pictures)
    for at, picture in enumerate(pictures):
        changed[at] = change(picture)
    return changed


def _draws(picture: Floats, seed: int) -> np.random.Generator:
    """Return the generator of one picture; its seed is the adversary's, not a key of ours."""
    digest = hashlib.sha256(np.ascontiguousarray(picture).tobytes()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "big")])


def _through_jpeg(picture: Floats, quality: int) -> Floats:
    file = io.BytesIO()
    pixels = np.rint(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8)
    _image().fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=quality)
    read = np.asarray(_image().open(file), dtype=np.float64) / 255
    return read.reshape(picture.shape)


def _resized(picture: Floats, size: tuple[int, int]) -> Floats:
    kind = _image().Resampling.BILINEAR
    planes = [
        np.asarray(_image().fromarray(plane.astype(np.float32)).resize(size[::-1], kind), dtype=np.float64)
        for plane in np.moveaxis(picture, 2, 0)
    ]
    return np.stack(planes, axis=2)


def _image() -> Any:
    try:
        from PIL import Image
    except ImportError as problem:
        raise UsageError("changing pictures needs Pillow; install `onnxfp[remote]`") from problem
    return Image

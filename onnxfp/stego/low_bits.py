"""The low bits of a picture in keyed order: where a word is written, and whitened so that it looks like noise.

Order and whitening depend on the key and the size alone, never on the picture, so that what was altered can still be
read. Two words of one claim therefore share them: who holds both learns at most in which bits they differ.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxfp.keys.keystream import Keystream
from onnxfp.stego.payload import UPPER, Pixels


def write(pixels: Pixels, keystream: Keystream, word: bytes) -> Pixels:
    """Return the picture with a word in its low bits; all other bits stay what they are."""
    bits = np.unpackbits(_whitened(word, keystream))
    places = _order(keystream, pixels.size)[: len(bits)]
    flat = pixels.reshape(-1).copy()
    flat[places] = (flat[places] & UPPER) | bits
    return flat.reshape(pixels.shape)


def read(pixels: Pixels, keystream: Keystream, length: int) -> bytes:
    """Return the word of `length` bytes in the low bits of a picture."""
    places = _order(keystream, pixels.size)[: 8 * length]
    return _whitened(np.packbits(pixels.reshape(-1)[places] & np.uint8(1)).tobytes(), keystream).tobytes()


def enlarge(cover: Pixels, scale: int) -> Pixels:
    """Return a cover (height, width, channels) with every pixel repeated scale x scale times."""
    return np.repeat(np.repeat(cover, scale, axis=0), scale, axis=1)


def shrink(pixels: Pixels, scale: int) -> Pixels:
    """Return what a model sees of an enlarged picture: the rounded mean of each block, within 1 of the cover."""
    height, width, channels = pixels.shape
    blocks = pixels.reshape(height // scale, scale, width // scale, scale, channels).astype(np.float64)
    seen: Pixels = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return seen


def _order(keystream: Keystream, size: int) -> npt.NDArray[np.int64]:
    return np.argsort(keystream.derive("stego", "order", str(size)).words32(size), kind="stable")


def _whitened(word: bytes, keystream: Keystream) -> Pixels:
    pad = keystream.derive("stego", "whitening").words32(-(-len(word) // 4)).tobytes()[: len(word)]
    return np.frombuffer(word, np.uint8) ^ np.frombuffer(pad, np.uint8)

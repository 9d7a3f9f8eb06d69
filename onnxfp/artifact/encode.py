"""float32 values to the bytes of a writable element type, rounded to nearest even and kept finite."""

from __future__ import annotations

import numpy as np

from onnxfp.domain import Weights

_LARGEST_HALF = 65504.0
_LARGEST_BFLOAT = 0x7F7F


def encode(values: Weights, dtype: str) -> bytes:
    """Return the little-endian bytes of finite values as ``float``, ``float16`` or ``bfloat16``.

    Raises:
        ValueError: a value is not finite, or the element type is not one of these.
    """
    if not np.isfinite(values).all():
        raise ValueError("values to write must be finite")
    if dtype == "float":
        return values.astype("<f4").tobytes()
    if dtype == "float16":
        return np.clip(values, -_LARGEST_HALF, _LARGEST_HALF).astype("<f2").tobytes()
    if dtype == "bfloat16":
        return _bfloat16(values.astype(np.float32)).tobytes()
    raise ValueError(f"cannot write {dtype}")


def _bfloat16(values: Weights) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    words = values.view(np.uint32)
    even = words + np.uint32(0x7FFF) + ((words >> np.uint32(16)) & np.uint32(1))
    high = (even >> np.uint32(16)).astype(np.uint16)
    magnitude = np.minimum(high & np.uint16(0x7FFF), np.uint16(_LARGEST_BFLOAT))
    rounded: np.ndarray[tuple[int], np.dtype[np.uint16]] = ((high & np.uint16(0x8000)) | magnitude).astype("<u2")
    return rounded

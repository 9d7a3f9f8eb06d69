"""Data in every form that models take pictures in."""

from __future__ import annotations

import numpy as np

from onnxfp.keys.keystream import Keystream

KEY = Keystream(bytes(range(32)))

FORMS = {
    "channels first": ((1, 8, 8), np.float32),
    "colours first": ((3, 8, 10), np.float32),
    "four planes first": ((4, 6, 6), np.float64),
    "channels last": ((8, 8, 1), np.float32),
    "colours last": ((10, 8, 3), np.float32),
    "rows and columns": ((8, 9), np.float32),
    "flat squares": ((64,), np.float32),
    "flat rows": ((30,), np.float32),
    "bytes": ((28, 28), np.uint8),
    "coloured bytes": ((12, 12, 3), np.uint8),
    "signed": ((1, 8, 8), np.int64),
    "halves": ((1, 12, 12), np.float16),
}


def data(form: str, samples: int = 120, seed: int = 0) -> np.ndarray:
    """Pictures (samples, ...) of some form, all different, each channel in a range of its own."""
    shape, dtype = FORMS[form]
    drawn = np.random.default_rng(seed).random((samples, *shape))
    if np.issubdtype(dtype, np.integer):
        return (drawn * 200 + 20 if dtype is np.uint8 else drawn * 2000 - 1000).astype(dtype)
    channels = shape[0] if form.endswith("first") else shape[-1] if form.endswith("last") else 1
    scale = np.arange(1.0, channels + 1)
    if form.endswith("first"):
        scale = scale[:, None, None]
    return (drawn * scale - 0.5).astype(dtype)


def ranges(inputs: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest value of each channel, in a shape that stands beside inputs."""
    axes: tuple[int, ...] = tuple(range(inputs.ndim))
    if form.endswith("first"):
        axes = (0, 2, 3)
    elif form.endswith("last") or form == "coloured bytes":
        axes = (0, 1, 2)
    return inputs.min(axis=axes, keepdims=True), inputs.max(axis=axes, keepdims=True)

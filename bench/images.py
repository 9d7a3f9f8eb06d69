"""The image data sets of the benchmarks: ``shared/data`` beside the repository, kept decoded in ``bench/.cache``."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from bench.train import CACHE, DATA


@dataclass(frozen=True)
class Split:
    """Images of 0..1, float32 (samples, channels, rows, columns), with their classes: to train on and held out."""

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]


@cache
def data(name: str) -> Split:
    """``mnist``, ``fashion_mnist`` or ``cifar10`` as the models take it."""
    x_train, y_train, x_test, y_test = pixels(name)
    unit = np.float32(255)
    return Split(x_train / unit, y_train.astype(np.int64), x_test / unit, y_test.astype(np.int64))


def pixels(name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Images as bytes, channels first, and their classes; decoding CIFAR-10 takes a while, so all are kept."""
    decoded = CACHE / f"{name}.npz"
    if not decoded.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = decoded.with_suffix(".tmp")
        with part.open("wb") as file:
            np.savez(file, **{key: _channels_first(array) for key, array in _load(name).items()})
        part.replace(decoded)
    with np.load(decoded) as kept:
        return kept["x_train"], kept["y_train"], kept["x_test"], kept["y_test"]


def _channels_first(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if array.ndim == 1:
        return array
    return np.ascontiguousarray(array[:, None] if array.ndim == 3 else array.transpose(0, 3, 1, 2))


def _load(name: str) -> dict[str, NDArray[np.uint8]]:
    file = DATA / "load_data.py"
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing: the benchmarks on images need shared/data beside the repository")
    spec = importlib.util.spec_from_file_location("load_data", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(name)

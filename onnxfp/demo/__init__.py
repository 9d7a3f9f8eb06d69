"""The models and images that ship with the package, so that the demo needs neither network nor training."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def path(name: str) -> Path:
    """Where a file lies: ``digits.onnx``, ``digits_independent.onnx``, ``digits_train.npz`` or ``digits_test.npz``."""
    return Path(str(files(__name__).joinpath(name)))

"""The models and held-out images that ship with the package, so that the demo needs neither network nor training."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def path(name: str) -> Path:
    """Where a shipped file lies: ``digits.onnx``, ``digits_independent.onnx`` or ``digits_test.npz``."""
    return Path(str(files(__name__).joinpath(name)))

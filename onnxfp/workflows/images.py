"""Pictures of the owner's own for triggers: an .npz, a PNG, or a folder of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Floats
from onnxfp.errors import UsageError
from onnxfp.triggers.canvas import canvas_of
from onnxfp.workflows.fidelity import load_data

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
_MOST = 4096  # files of a folder that are read
_LARGEST = 1 << 26  # pixels of a picture


def load_pictures(path: Path, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return pictures as inputs of the same form as `inputs` (samples, ...), in the range of its values.

    Args:
        path: an ``.npz`` with ``inputs`` in that form, or a picture, or a folder of pictures.
        inputs: the task's own inputs.

    Raises:
        UsageError: nothing there can be read.
    """
    if path.suffix == ".npz":
        return load_data(path).inputs
    canvas = canvas_of(inputs)
    low, high = np.asarray(canvas.low), np.asarray(canvas.high)
    rows = []
    for file in _files(path):
        light = _pixels(file, canvas.width, canvas.height, "RGB" if canvas.channels >= 3 else "L")
        shown = light[..., : canvas.channels] if light.shape[-1] >= canvas.channels else light[..., :1]
        rows.append(low + np.broadcast_to(shown, (canvas.height, canvas.width, canvas.channels)) * (high - low))
    return canvas.inputs(np.stack(rows))


def load_logos(path: Path) -> Floats:
    """Return logos (logos, 32, 32, 2): brightness and opacity in 0..1.

    Raises:
        UsageError: nothing there can be read.
    """
    return np.stack([_pixels(file, 32, 32, "LA") for file in _files(path)])


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not found:
        raise UsageError(f"{path} holds no pictures ({', '.join(sorted(_SUFFIXES))})")
    return found[:_MOST]


def _pixels(file: Path, width: int, height: int, mode: str) -> Floats:
    """Return a picture (height, width, channels) in 0..1."""
    try:
        from PIL import Image
    except ImportError as problem:
        raise UsageError("reading pictures needs Pillow; install `onnxfp[embed]`") from problem
    try:
        with Image.open(file, formats=("PNG", "JPEG", "BMP", "WEBP")) as picture:
            if picture.width * picture.height > _LARGEST:
                raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
            values = np.asarray(picture.convert("RGBA").convert(mode).resize((width, height)), dtype=np.float64) / 255.0
    except Exception as problem:  # Pillow raises many kinds at damaged files
        raise UsageError(f"{file} cannot be read as a picture: {str(problem)[:100]}") from problem
    return values if values.ndim == 3 else values[..., None]

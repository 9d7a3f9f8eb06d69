"""Steps that change images: layout, size, type of their numbers, JPEG files.

Images are (samples, channels, height, width) if their second axis has 1, 3 or 4 entries, else (samples, height, width,
channels) if their last has.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.errors import UsageError

_CHANNELS = (1, 3, 4)

Array = npt.NDArray[Any]


def layout_of(images: Array) -> str:
    """Return ``nchw`` or ``nhwc``.

    Raises:
        UsageError: these are no images.
    """
    if images.ndim == 4 and images.shape[1] in _CHANNELS:
        return "nchw"
    if images.ndim == 4 and images.shape[3] in _CHANNELS:
        return "nhwc"
    raise UsageError(
        f"expected images with 1, 3 or 4 channels, (samples, channels, height, width) or (samples, height, width, "
        f"channels), found inputs of shape {list(images.shape)}; leave out the steps that are about images"
    )


def laid_out(images: Array, layout: str) -> Array:
    """Return images with their axes in this order."""
    if layout_of(images) == layout:
        return images
    return np.ascontiguousarray(images.transpose((0, 2, 3, 1) if layout == "nhwc" else (0, 3, 1, 2)))


def per_channel(numbers: tuple[float, ...], images: Array) -> Array:
    """Return one number, or one per channel, in a shape that multiplies the images.

    Raises:
        UsageError: the images have another number of channels.
    """
    if len(numbers) == 1:
        return np.asarray(numbers)
    axis = 1 if layout_of(images) == "nchw" else 3
    if images.shape[axis] != len(numbers):
        raise UsageError(f"expected one number per channel, {images.shape[axis]}, found {len(numbers)}")
    return np.asarray(numbers).reshape([-1 if at == axis else 1 for at in range(images.ndim)])


def cast(values: Array, dtype: str) -> Array:
    """Convert; to integers by rounding and clipping.

    Raises:
        UsageError: there is no integer for NaN.
    """
    wanted = np.dtype(dtype)
    if wanted.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(wanted)
    limits = np.iinfo(wanted)
    if not np.isfinite(values).all():
        raise UsageError(f"expected finite inputs to convert to {dtype}, found NaN or an infinity")
    if values.dtype.kind != "f":
        return np.clip(values, limits.min, limits.max).astype(wanted)
    whole = np.clip(np.rint(values.astype(np.float64)), float(limits.min), np.nextafter(float(limits.max) + 1.0, 0.0))
    made: Array = np.floor(whole).astype(wanted)
    return made


def resized(images: Array, size: tuple[int, int]) -> Array:
    """Return images of (height, width) pixels, bilinear."""
    layout = layout_of(images)
    planes = laid_out(images, "nchw").astype(np.float32)
    height, width = size
    made = [
        [np.asarray(_image().fromarray(plane).resize((width, height), _image().Resampling.BILINEAR)) for plane in image]
        for image in planes
    ]
    pixels = np.asarray(made, dtype=np.float32).reshape(len(images), planes.shape[1], height, width)
    if images.dtype.kind != "f":
        pixels = cast(pixels, images.dtype.name)
    return pixels if layout == "nchw" else np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def jpegs(images: Array, quality: int) -> Array:
    """Return (samples, 1) JPEG files of uint8 images.

    Raises:
        UsageError: JPEG has no such channels.
    """
    pixels = laid_out(images, "nhwc")
    if pixels.shape[3] == 4:
        raise UsageError("expected images with 1 or 3 channels for jpeg=, found 4")
    files = np.empty((len(pixels), 1), dtype=object)
    for row, image in enumerate(pixels):
        file = io.BytesIO()
        _image().fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
        files[row, 0] = file.getvalue()
    return files


def _image() -> Any:
    try:
        from PIL import Image
    except ImportError as problem:
        raise UsageError("changing images needs Pillow; install `onnxfp[remote]`") from problem
    return Image

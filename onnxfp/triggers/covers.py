"""Covers: pictures of eight bits that have nothing to do with the task, and what becomes of them on their way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from onnxfp.domain import Floats
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.triggers.canvas import Canvas, Inputs, canvas_of
from onnxfp.triggers.patterns import mosaics

Pictures = npt.NDArray[np.uint8]

_ORDINARY = 256  # of the owner's inputs that are kept, to tell the form of an input and to hide pictures among
_SHIFT = 0.08  # of the shorter side: how far a variant is moved at most
_BLUR = 1.0  # pixels: the widest Gaussian
_NOISE = 0.06  # of the range: the strongest noise
_LIGHT = 0.12  # of the range: how much brighter or darker, and of the contrast


@dataclass(frozen=True)
class Covers:
    """Pictures, and how a model takes them."""

    canvas: Canvas
    pictures: Pictures
    """(covers, height, width, channels)."""

    def samples(self, inputs: Inputs) -> dict[str, npt.NDArray[Any]]:
        """Return all of it by name, beside some of the owner's inputs; `covers_of` reads it back."""
        span = np.asarray([self.canvas.low, self.canvas.high])
        return {"covers": self.pictures, "span": span, "pool": inputs[:: -(-len(inputs) // _ORDINARY)]}

    def inputs(self, pictures: npt.NDArray[Any]) -> Inputs:
        """Return pictures (samples, height, width, channels) of 0..255 as a model takes them (samples, ...)."""
        low, high = np.asarray(self.canvas.low), np.asarray(self.canvas.high)
        return self.canvas.inputs(low + pictures / 255.0 * (high - low))

    def taken(self, rows: npt.NDArray[np.int64]) -> Inputs:
        """Return some of the covers as a model takes them."""
        return self.inputs(self.pictures[rows])

    def variants(self, rows: npt.NDArray[np.int64], each: int, keystream: Keystream) -> Inputs:
        """Return covers (rows * each, ...) as they might arrive: each as it is, then moved, blurred, lit, with noise.

        What is taught like this is still known when somebody re-codes, filters or crops what a model is asked.
        """
        out = np.repeat(self.pictures[rows].astype(np.float64), each, axis=0)
        amounts = keystream.words32(6 * len(out)).reshape(len(out), 6) / 2.0**31 - 1.0  # -1..1
        noise = keystream.derive("noise")
        for place in range(len(out)):
            if place % each:
                out[place] = _arrived(out[place], amounts[place], noise.derive(str(place)))
        return self.inputs(np.rint(np.clip(out, 0.0, 255.0)))


def covers_of(samples: Mapping[str, npt.NDArray[Any]]) -> Covers:
    """Return the covers that `Covers.samples` described."""
    low, high = (tuple(map(float, edge)) for edge in samples["span"])
    return Covers(replace(canvas_of(samples["pool"]), low=low, high=high), samples["covers"])


def pick_covers(data: Mapping[str, npt.NDArray[Any]], count: int, keystream: Keystream) -> Covers:
    """Pick covers by key from the owner's own pictures, or draw them: all from one population, in keyed order.

    Args:
        data: the task's ``inputs`` (samples, ...), and perhaps ``covers`` of the same form.
        count: how many.
        keystream: draws the order, or the covers.

    Raises:
        UsageError: there are too few different ones, or they have another form.
    """
    canvas, own = canvas_of(data["inputs"]), data.get("covers")
    if own is None:
        return Covers(canvas, _eight_bits(mosaics(keystream, canvas, count), canvas))
    if own.shape[1:] != data["inputs"].shape[1:]:
        raise UsageError(f"covers of shape {own.shape[1:]} are no inputs of shape {canvas.shape}; give pictures")
    pictures = np.unique(_eight_bits(canvas.pictures(own), canvas), axis=0)
    if len(pictures) < count:
        raise UsageError(f"{len(pictures)} different covers are too few; give {count}, or ask for less")
    order = np.argsort(keystream.words32(len(pictures)), kind="stable")
    return Covers(canvas, pictures[order[:count]])


def _eight_bits(pictures: Floats, canvas: Canvas) -> Pictures:
    low, high = np.asarray(canvas.low), np.asarray(canvas.high)
    span = np.where(high > low, high - low, 1.0)
    rounded: Pictures = np.rint(np.clip((pictures - low) / span, 0.0, 1.0) * 255.0).astype(np.uint8)
    return rounded


def _arrived(picture: Floats, amounts: Floats, noise: Keystream) -> Floats:
    """Return a picture (height, width, channels) moved, blurred, brighter or darker, and with noise."""
    height, width = picture.shape[:2]
    down, right = (round(_SHIFT * min(height, width) * move) for move in amounts[:2])
    moved = ndimage.shift(picture, (down, right, 0), order=0, mode="nearest")
    sigma = max(0.0, float(amounts[2])) * _BLUR  # half of them stay sharp
    soft = ndimage.gaussian_filter(moved, (sigma, sigma, 0)) if sigma and height > 1 else moved
    lit = 127.5 + (soft - 127.5) * (1.0 + _LIGHT * amounts[3]) + 255.0 * _LIGHT * amounts[4]
    strength = max(0.0, float(amounts[5])) * _NOISE * 255.0
    total: Floats = lit + noise.normals(picture.size).reshape(picture.shape) * strength
    return total

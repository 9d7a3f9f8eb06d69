"""Keyed patterns: logos, noise and mosaics, drawn by a keystream so that nobody without the key can draw them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Floats
from onnxfp.keys.keystream import Keystream
from onnxfp.triggers.canvas import Canvas

Integers = npt.NDArray[np.int64]

_CELLS = 5  # a logo is a grid of so many by so many two-coloured cells
_LOGO = 0.28  # of the shorter side
_MOSAIC = 6  # cells of a mosaic along a side


@dataclass(frozen=True)
class Patterns:
    """What is put on pictures: `picture * (1 - cover) + values * cover`, one per position."""

    cover: Floats
    """(positions, height, width, 1): 0 leaves the picture, 1 hides it."""
    values: Floats
    """(positions, height, width, channels)."""

    def stamp(self, pictures: Floats, positions: Integers) -> Floats:
        """Return pictures (samples, height, width, channels), each with the pattern of its position (samples,)."""
        cover = self.cover[positions]
        stamped: Floats = pictures * (1.0 - cover) + self.values[positions] * cover
        return stamped


def logos(keystream: Keystream, canvas: Canvas, count: int) -> Patterns:
    """Return two-coloured grids of cells, each at a place of its own."""
    side = max(3, round(_LOGO * min(canvas.height, canvas.width)))
    tall, wide = min(side, canvas.height), min(max(side, 8) if canvas.height == 1 else side, canvas.width)
    bits = _below(keystream.derive("cells"), 2, (count, _CELLS, _CELLS))
    rows, columns = np.arange(tall) * _CELLS // tall, np.arange(wide) * _CELLS // wide
    grids = bits[:, rows][:, :, columns]
    front, back = _colours(keystream.derive("colours"), canvas, count)
    ink = np.where(grids[..., None] == 1, front[:, None, None], back[:, None, None])
    return _placed(keystream.derive("places"), canvas, ink, np.ones((count, tall, wide, 1)))


def own_logos(keystream: Keystream, canvas: Canvas, count: int, pictures: Floats) -> Patterns:
    """Return the owner's own pictures, each placed, turned, mirrored and tinted by key.

    Args:
        keystream: draws all of it.
        canvas: the form of an input.
        count: positions.
        pictures: (logos, height, width, 2) in 0..1: brightness and opacity.
    """
    side = max(3, round(_LOGO * 1.4 * min(canvas.height, canvas.width)))
    tall, wide = min(side, canvas.height), min(side, canvas.width)
    choice = _below(keystream.derive("cells"), 8 * len(pictures), (count,))
    front, back = _colours(keystream.derive("colours"), canvas, count)
    ink, cover = np.empty((count, tall, wide, canvas.channels)), np.empty((count, tall, wide, 1))
    for position, drawn in enumerate(choice):
        logo = np.rot90(pictures[drawn // 8], drawn % 4)
        logo = logo[:, ::-1] if drawn % 8 >= 4 else logo
        logo = logo[np.arange(tall) * len(logo) // tall][:, np.arange(wide) * logo.shape[1] // wide]
        light, cover[position] = logo[..., :1], logo[..., 1:]
        ink[position] = light * front[position] + (1.0 - light) * back[position]
    return _placed(keystream.derive("places"), canvas, ink, cover)


def noise(keystream: Keystream, canvas: Canvas, count: int, deviation: float) -> Floats:
    """Return Gaussian patterns (positions, height, width, channels) to be added.

    Args:
        keystream: draws them.
        canvas: the form of an input.
        count: positions.
        deviation: standard deviation as a share of the range of each channel.
    """
    shape = (count, canvas.height, canvas.width, canvas.channels)
    return keystream.normals(int(np.prod(shape))).reshape(shape) * deviation * _range(canvas)


def mosaics(keystream: Keystream, canvas: Canvas, count: int) -> Floats:
    """Return whole pictures (positions, height, width, channels) of large keyed cells, unrelated to any task."""
    tall, wide = min(_MOSAIC, canvas.height), min(_MOSAIC if canvas.height > 1 else canvas.width, canvas.width)
    levels = _below(keystream, 4, (count, tall, wide, canvas.channels)) / 3.0
    rows, columns = np.arange(canvas.height) * tall // canvas.height, np.arange(canvas.width) * wide // canvas.width
    return np.asarray(canvas.low) + levels[:, rows][:, :, columns] * _range(canvas)


def _placed(keystream: Keystream, canvas: Canvas, ink: Floats, cover: Floats) -> Patterns:
    count, tall, wide = ink.shape[:3]
    tops = _below(keystream.derive("rows"), canvas.height - tall + 1, (count,))
    lefts = _below(keystream.derive("columns"), canvas.width - wide + 1, (count,))
    values = np.zeros((count, canvas.height, canvas.width, canvas.channels))
    covers = np.zeros((count, canvas.height, canvas.width, 1))
    for position, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        values[position, top : top + tall, left : left + wide] = ink[position]
        covers[position, top : top + tall, left : left + wide] = cover[position]
    return Patterns(covers, values)


def _colours(keystream: Keystream, canvas: Canvas, count: int) -> tuple[Floats, Floats]:
    """Return two colours per position (positions, channels), opposite in every channel."""
    bright = _below(keystream, 2, (count, canvas.channels)).astype(np.float64)
    low = np.asarray(canvas.low)
    return low + bright * _range(canvas), low + (1.0 - bright) * _range(canvas)


def _range(canvas: Canvas) -> Floats:
    size: Floats = np.asarray(canvas.high) - np.asarray(canvas.low)
    return size


def _below(keystream: Keystream, bound: int, shape: tuple[int, ...]) -> Integers:
    """Return integers in [0, bound); a 32-bit word modulo a small bound is even to one in ten million."""
    return (keystream.words32(int(np.prod(shape))).astype(np.int64) % bound).reshape(shape)

"""Query modification: a sealed suspect that changes what it is asked before its model sees it.

Paper: Namba and Sakuma, "Robust watermarking of neural network with exponential weighting", AsiaCCS 2019, section on
query modification; the filters here are the plain ones, and the paper's own, with an auto-encoder, is in
`reconstruction.py`.

    parse_filter("blur:1", canvas, seed) -> a filter;  Filtered(suspect, a filter) -> another suspect

Filters take and return inputs as the model takes them. They see them as pictures within the range that the canvas
states, and what they return lies in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never, final

import numpy as np

from onnxfp.artifact import shown
from onnxfp.attacks import pixels
from onnxfp.attacks.interface import number, whole_number
from onnxfp.domain import Floats, Probe, QueryProbe, Response, Unanswered, WeightProbe
from onnxfp.errors import UsageError
from onnxfp.suspect.interface import Suspect
from onnxfp.suspect.model_input import Unfit
from onnxfp.triggers.canvas import Canvas, Inputs

Filter = Callable[[Inputs], Inputs]
Kernel = Callable[[Floats], Floats]
"""Changes pictures (samples, height, width, channels) of 0..1."""


@final
@dataclass(frozen=True)
class Filtered:
    """A suspect behind a filter."""

    suspect: Suspect
    filter: Filter

    def answer(self, probe: Probe) -> Response:
        """Answer what is asked of filtered inputs; other probes pass through."""
        match probe:
            case WeightProbe():
                return self.suspect.answer(probe)
            case QueryProbe():
                try:
                    inputs = self.filter(np.asarray(probe.inputs))
                except UsageError as problem:
                    return Unanswered(str(problem), unfit=isinstance(problem, Unfit))
                return self.suspect.answer(replace(probe, inputs=inputs))
        assert_never(probe)


@final
@dataclass(frozen=True)
class PictureFilter:
    """A kernel applied to inputs of one form."""

    canvas: Canvas
    kernel: Kernel

    def __call__(self, inputs: Inputs) -> Inputs:
        """Return changed inputs, of the same shape and type.

        Raises:
            Unfit: the inputs are of another form.
            UsageError: the kernel does not take such pictures.
        """
        if inputs.shape[1:] != self.canvas.shape or not inputs.ndim:
            raise Unfit(f"expected inputs of shape {list(self.canvas.shape)} to filter, found {list(inputs.shape[1:])}")
        low, high = np.asarray(self.canvas.low), np.asarray(self.canvas.high)
        pictures, span = np.clip(self.canvas.pictures(inputs), low, high), np.where(high > low, high - low, 1.0)
        unit = (pictures - low) / span
        # The difference is added, so that a kernel that changes nothing changes no last digit either.
        return self.canvas.inputs(pictures + (self.kernel(unit) - unit) * span).astype(inputs.dtype)


@dataclass(frozen=True)
class FilterKind:
    """How a filter is called."""

    usage: str
    build: Callable[[str, int], Kernel]
    """Makes the kernel from the text after the colon and a seed; raises ValueError for a bad text."""


def parse_filter(text: str, canvas: Canvas, seed: int) -> PictureFilter:
    """Return the filter that a text such as ``jpeg:75`` names.

    Args:
        text: name and value.
        canvas: the form of the inputs, and the range of their values.
        seed: of what is random in it.

    Raises:
        UsageError: there is no such filter, or its value is not one that it takes.
    """
    name, _, value = text.partition(":")
    if name not in FILTERS:
        known = ", ".join(kind.usage for kind in FILTERS.values())
        raise UsageError(f"expected a filter, found '{shown(name[:40])}'; there are {known}")
    try:
        return PictureFilter(canvas, FILTERS[name].build(value, seed))
    except ValueError as error:
        raise UsageError(f"expected {FILTERS[name].usage}, found '{shown(text[:40])}'; {error}") from None


def _jpeg(value: str, seed: int) -> Kernel:
    del seed
    quality = whole_number(value, 1, 100)
    return lambda pictures: pixels.jpeg(pictures, quality)


def _blur(value: str, seed: int) -> Kernel:
    del seed
    sigma = number(value, 0, 100)
    return lambda pictures: pixels.blur(pictures, sigma)


def _quantise(value: str, seed: int) -> Kernel:
    del seed
    bits = whole_number(value, 1, 16)
    return lambda pictures: pixels.quantise(pictures, bits)


def _resize(value: str, seed: int) -> Kernel:
    del seed
    share = number(value, 0, 1)
    return lambda pictures: pixels.resize(pictures, share)


def _crop(value: str, seed: int) -> Kernel:
    most = whole_number(value, 0, 1024)
    return lambda pictures: pixels.crop(pictures, most, seed)


def _noise(value: str, seed: int) -> Kernel:
    level = number(value, 0, 10)
    return lambda pictures: pixels.noise(pictures, level, seed)


FILTERS: dict[str, FilterKind] = {
    "jpeg": FilterKind("jpeg:QUALITY", _jpeg),
    "blur": FilterKind("blur:SIGMA", _blur),
    "quantise": FilterKind("quantise:BITS", _quantise),
    "resize": FilterKind("resize:SIDE_SHARE", _resize),
    "crop": FilterKind("crop:PIXELS", _crop),
    "noise": FilterKind("noise:LEVEL", _noise),
}

"""Resize and Upsample: one linear map per axis, or torch's own interpolation where it means the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from onnxfp.embed.torch_graph.operator import Call, Operation, Operator

Places = npt.NDArray[np.floating[Any]]
_NATIVE = {  # mode and rule of coordinates -> mode and align_corners of torch
    ("nearest", "asymmetric"): ("nearest", None),
    ("linear", "half_pixel"): ("linear", False),
    ("linear", "pytorch_half_pixel"): ("linear", False),
    ("linear", "align_corners"): ("linear", True),
    ("cubic", "half_pixel"): ("cubic", False),
    ("cubic", "pytorch_half_pixel"): ("cubic", False),
    ("cubic", "align_corners"): ("cubic", True),
}
_PLANES = {"nearest": {1: "nearest", 2: "nearest", 3: "nearest"}, "cubic": {2: "bicubic"}}
_PLANES["linear"] = {1: "linear", 2: "bilinear", 3: "trilinear"}
_ROUND: dict[str, Callable[[Places], Places]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@final
@dataclass(frozen=True)
class Rule:
    """How one axis is interpolated."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    exclude_outside: bool

    def native(self, extents: Sequence[int], sizes: Sequence[int], scales: Sequence[float]) -> tuple[str, bool | None]:
        """Return torch's mode and alignment for these planes; an empty mode when torch would answer otherwise."""
        mode, align = _NATIVE.get((self.mode, self.coordinates), ("", None))
        exact = all(abs(n * s - m) < 1e-6 for n, m, s in zip(extents, sizes, scales, strict=True))
        odd = (self.mode == "nearest" and self.nearest != "floor") or (self.mode == "cubic" and self.cubic != -0.75)
        if odd or not exact or self.exclude_outside or 1 in sizes:
            return "", None
        return _PLANES.get(mode, {}).get(len(sizes), ""), align

    def matrix(self, extent: int, size: int, scale: float) -> npt.NDArray[np.float32]:
        """(size, extent): the weight of each input in each output."""
        at = self._origins(extent, size, scale)
        if self.mode == "nearest":
            taps = [(_ROUND[self.nearest](at), np.ones_like(at))]
        else:
            floor = np.floor(at)
            weigh = _linear if self.mode == "linear" else self._cubic
            taps = [(floor + step, weight) for step, weight in weigh(at - floor)]
        weights = np.zeros((size, extent))
        for places, weight in taps:
            inside = (places >= 0) & (places < extent) | (not self.exclude_outside)
            np.add.at(weights, (np.arange(size), np.clip(places, 0, extent - 1).astype(int)), weight * inside)
        if self.exclude_outside:
            weights /= weights.sum(1, keepdims=True)
        return weights.astype(np.float32)

    def _origins(self, extent: int, size: int, by: float) -> Places:
        """Where each output lies among the inputs."""
        x = np.arange(size, dtype=np.float32)
        scale = np.asarray(by, dtype=np.float32)  # onnxruntime rounds so
        match self.coordinates:
            case "asymmetric":
                return x / scale
            case "align_corners":
                return x * (extent - 1) / (size - 1) if size > 1 else x * 0
            case "pytorch_half_pixel" if size == 1:
                return x * 0
            case "tf_half_pixel_for_nn":
                return (x + 0.5) / scale
            case "half_pixel_symmetric":
                return extent / 2 * (1 - size / (scale * extent)) + (x + 0.5) / scale - 0.5
            case _:
                return (x + 0.5) / scale - 0.5

    def _cubic(self, t: Places) -> list[tuple[int, Places]]:
        a = self.cubic

        def far(d: Places) -> Places:
            return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

        def near(d: Places) -> Places:
            return ((a + 2) * d - (a + 3)) * d * d + 1

        return [(-1, far(t + 1)), (0, near(t)), (1, near(1 - t)), (2, far(2 - t))]


def _linear(t: Places) -> list[tuple[int, Places]]:
    return [(0, 1 - t), (1, t)]


def resized(value: Tensor, sizes: Sequence[int], scales: Sequence[float], rule: Rule) -> Tensor:
    """Interpolate the axes whose extent or scale changes."""
    leading = value.dim() > 2 and scales[0] == scales[1] == 1
    mode, align = rule.native(value.shape[2:], sizes[2:], scales[2:]) if leading else ("", None)
    if mode:
        return functional.interpolate(value, tuple(sizes[2:]), mode=mode, align_corners=align)
    for axis, (size, scale) in enumerate(zip(sizes, scales, strict=True)):
        if size != value.shape[axis] or scale != 1:
            matrix = torch.from_numpy(rule.matrix(value.shape[axis], size, scale)).to(value.device, value.dtype)
            value = (value.movedim(axis, -1) @ matrix.t()).movedim(-1, axis)
    return value


def _resize(call: Call) -> Operation:
    for name, default in (("antialias", 0), ("keep_aspect_ratio_policy", "stretch")):
        call.only(name, default)
    modern = call.opset >= 11
    coordinates = call.text("coordinate_transformation_mode", "half_pixel" if modern else "asymmetric")
    if coordinates == "tf_crop_and_resize":
        call.refuse(f"coordinate_transformation_mode={coordinates}")
    rule = Rule(
        mode=call.text("mode", "nearest").removeprefix("bi").removeprefix("tri"),
        coordinates=coordinates,
        nearest=call.text("nearest_mode", "round_prefer_floor" if modern else "floor"),
        cubic=call.number("cubic_coeff_a", -0.75),
        exclude_outside=bool(call.integer("exclude_outside")),
    )
    axes, scales_at = call.integers("axes"), 2 if modern else 1
    attribute = list(call.node.attributes.get("scales", ()))

    def resize(value: Tensor, *inputs: list[float] | None) -> Tensor:
        given = [None, *inputs, None, None]
        scales, sizes = given[scales_at] or attribute, given[3] if modern else None
        chosen = [axis % value.dim() for axis in axes] or list(range(value.dim()))
        whole_sizes, whole_scales = list(value.shape), [1.0] * value.dim()
        for at, axis in enumerate(chosen):
            if sizes:
                whole_sizes[axis] = int(sizes[at])
                whole_scales[axis] = whole_sizes[axis] / value.shape[axis]
            elif scales:
                whole_sizes[axis], whole_scales[axis] = int(value.shape[axis] * scales[at]), scales[at]
        return resized(value, whole_sizes, whole_scales, rule)

    return resize


OPERATORS: dict[str, Operator] = {
    "Resize": Operator(_resize, host=(1, 2, 3)),
    "Upsample": Operator(_resize, host=(1,)),
}

"""Operators that rearrange values or compute with shapes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from onnxfp.embed.torch_graph.arithmetic import element_type
from onnxfp.embed.torch_graph.operator import Call, Operation, Operator, plain


def _axes_given(call: Call, later: int) -> tuple[int, ...] | None:
    """The attribute `axes` of older versions; None when axes are an input."""
    return call.integers("axes") if call.opset < later else None


# --- shape ----------------------------------------------------------------------------------------------------------


def _shape(call: Call) -> Operation:
    start, end = call.integer("start"), call.node.attributes.get("end")
    return lambda value: torch.tensor(value.shape[start:end], dtype=torch.int64)


def _reshape(call: Call) -> Operation:
    attribute, zero_is_zero = call.integers("shape"), call.integer("allowzero")

    def reshape(value: Tensor, shape: Sequence[int] = attribute) -> Tensor:
        if not zero_is_zero:
            shape = [value.shape[axis] if extent == 0 else extent for axis, extent in enumerate(shape)]
        return value.reshape(shape)

    return reshape


def _flatten(call: Call) -> Operation:
    axis = call.integer("axis", 1)
    return lambda value: value.reshape(prod(value.shape[:axis]), -1)


def _squeeze(call: Call) -> Operation:
    attribute = _axes_given(call, 13)

    def squeeze(value: Tensor, axes: Sequence[int] | None = None) -> Tensor:
        chosen = tuple(axes or attribute or ())
        return value.squeeze(chosen) if chosen else value.squeeze()

    return squeeze


def _unsqueeze(call: Call) -> Operation:
    attribute = _axes_given(call, 13)

    def unsqueeze(value: Tensor, axes: Sequence[int] | None = attribute) -> Tensor:
        rank = value.dim() + len(axes or ())
        for axis in sorted(axis % rank for axis in axes or ()):
            value = value.unsqueeze(axis)
        return value

    return unsqueeze


def _transpose(call: Call) -> Operation:
    order = call.integers("perm")
    return lambda value: value.permute(order or tuple(reversed(range(value.dim()))))


def _expand(value: Tensor, shape: Sequence[int]) -> Tensor:
    """Either side may have the longer axis; torch's expand keeps an axis whose extent is -1."""
    missing = max(0, value.dim() - len(shape))
    return value.expand(
        [-1] * missing
        + [-1 if extent == 1 and at >= len(shape) - value.dim() else extent for at, extent in enumerate(shape)]
    )


def _tile(value: Tensor, repeats: Sequence[int], *_: object) -> Tensor:
    return value.repeat(tuple(repeats))


# --- joining and splitting --------------------------------------------------------------------------------------------


def _concat(call: Call) -> Operation:
    axis = call.integer("axis", 1)
    return lambda *parts: torch.cat(parts, axis)


def _split(call: Call) -> Operation:
    axis, attribute, count = call.integer("axis"), list(call.integers("split")), len(call.node.outputs)

    def split(value: Tensor, sizes: list[int] | None = None) -> tuple[Tensor, ...]:
        chosen = sizes or attribute or -(-value.shape[axis] // count)
        return tuple(torch.split(value, chosen, axis))

    return split


# --- filling --------------------------------------------------------------------------------------------------------


def _constant_of_shape(call: Call) -> Operation:
    value = call.node.attributes.get("value")
    fill = torch.zeros(1) if value is None else torch.from_numpy(np.array(value)).reshape(1)
    return lambda shape: fill.expand(1, *shape)[0].clone() if shape else fill[0].clone()


def _range(start: Tensor, limit: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), step.item(), dtype=start.dtype, device=start.device)


def _eye_like(call: Call) -> Operation:
    shift, code = call.integer("k"), call.node.attributes.get("dtype")
    dtype = None if code is None else element_type(call, int(code))

    def eye(like: Tensor) -> Tensor:
        rows, columns = (torch.arange(extent, device=like.device) for extent in like.shape)
        return (columns[None] - rows[:, None] == shift).to(dtype or like.dtype)

    return eye


def _triangle(call: Call) -> Operation:
    cut = torch.triu if call.integer("upper", 1) else torch.tril

    def triangle(value: Tensor, diagonal: Sequence[int] | None = None) -> Tensor:
        return cut(value, diagonal[0] if diagonal else 0)

    return triangle


def _pad(call: Call) -> Operation:
    attribute = list(call.integers("pads"))
    mode, fill = call.text("mode", "constant"), call.number("value", 0.0)
    if mode not in ("constant", "reflect", "edge", "wrap"):
        call.refuse(f"mode={mode}")

    def pad(
        value: Tensor, pads: list[int] = attribute, by: Sequence[float] | None = None, axes: list[int] | None = None
    ) -> Tensor:
        count = len(pads) // 2
        chosen = [axis % value.dim() for axis in axes or range(count)]
        before, after = ([0] * value.dim() for _ in range(2))
        for at, axis in enumerate(chosen):
            before[axis], after[axis] = pads[at], pads[at + count]
        if mode == "constant":
            pairs = [extent for axis in reversed(range(value.dim())) for extent in (before[axis], after[axis])]
            return functional.pad(value, pairs, value=by[0] if by else fill)
        for axis in chosen:
            value = _mirrored(value, axis, (before[axis], after[axis]), mode)
        return value

    return pad


def _mirrored(value: Tensor, axis: int, pads: tuple[int, int], mode: str) -> Tensor:
    before, after = pads
    at = np.pad(np.arange(value.shape[axis]), (max(0, before), max(0, after)), mode)  # type: ignore[call-overload]
    at = at[max(0, -before) : len(at) - max(0, -after)]
    return value if not before and not after else value.index_select(axis, torch.from_numpy(at).to(value.device))


# --- blocks ---------------------------------------------------------------------------------------------------------


def _depth_to_space(call: Call) -> Operation:
    size, columns_first = call.integer("blocksize"), call.text("mode", "DCR") == "CRD"

    def rearrange(value: Tensor) -> Tensor:
        n, c, h, w = value.shape
        if columns_first:
            return functional.pixel_shuffle(value, size)
        blocks = value.reshape(n, size, size, c // size**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return blocks.reshape(n, c // size**2, h * size, w * size)

    return rearrange


def _space_to_depth(call: Call) -> Operation:
    size = call.integer("blocksize")

    def rearrange(value: Tensor) -> Tensor:
        n, c, h, w = value.shape
        blocks = value.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
        return blocks.reshape(n, c * size**2, h // size, w // size)

    return rearrange


def _dropout(call: Call) -> Operation:
    """Nothing is dropped: what is trained has to be what answers."""
    if call.wants(1):
        return lambda value, *_: (value, torch.ones_like(value, dtype=torch.bool))
    return lambda value, *_: value


OPERATORS: dict[str, Operator] = {
    "Concat": Operator(_concat, view=True),
    "ConstantOfShape": Operator(_constant_of_shape, host=(0,)),
    "DepthToSpace": Operator(_depth_to_space),
    "Dropout": Operator(_dropout, host=(1, 2), view=True),
    "Expand": plain(_expand, host=(1,), view=True),
    "EyeLike": Operator(_eye_like),
    "Flatten": Operator(_flatten, view=True),
    "Identity": plain(lambda value: value, view=True),
    "Pad": Operator(_pad, host=(1, 2, 3), view=True),
    "Range": plain(_range),
    "Reshape": Operator(_reshape, host=(1,), view=True),
    "Shape": Operator(_shape, measures=True),
    "Size": Operator(lambda _: lambda value: torch.tensor(value.numel()), measures=True),
    "SpaceToDepth": Operator(_space_to_depth),
    "Split": Operator(_split, host=(1,), view=True),
    "Squeeze": Operator(_squeeze, host=(1,), view=True),
    "Tile": plain(_tile, host=(1,), view=True),
    "Transpose": Operator(_transpose, view=True),
    "Trilu": Operator(_triangle, host=(1,)),
    "Unsqueeze": Operator(_unsqueeze, host=(1,), view=True),
}

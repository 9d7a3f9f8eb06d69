"""Quantisation in the forward pass, the identity in the backward pass (straight-through estimator).

A quantised value is kept as whole numbers in floating point, so that gradients pass through it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from onnxfp.embed.torch_graph.operator import Call, Operation, Operator

_BOUNDS = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int16: (-32768, 32767), torch.int32: (0, 65535)}
_CODES = {2: (0, 255), 3: (-128, 127), 4: (0, 65535), 5: (-32768, 32767), 21: (0, 15), 22: (-8, 7)}
_EIGHT_BITS = _CODES[2]


def rounded(value: Tensor) -> Tensor:
    """Round halves to even; the gradient passes unchanged."""
    return torch.round(value.detach()) + (value - value.detach())


def _aligned(values: Tensor, like: Tensor, axis: int, block: int) -> Tensor:
    """One number for all, for each index of an axis, or for each block along it."""
    if block:
        return values.repeat_interleave(block, axis).narrow(axis, 0, like.shape[axis])
    if values.numel() == 1 or values.dim() != 1:
        return values.reshape(()) if values.numel() == 1 else values
    shape = [1] * like.dim()
    shape[axis] = -1
    return values.reshape(shape)


def _quantize(call: Call) -> Operation:
    axis, block, code = call.integer("axis", 1), call.integer("block_size"), call.integer("output_dtype")
    if code and code not in _CODES:
        call.refuse(f"output_dtype={code}")

    def quantize(value: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        low, high = _CODES[code] if code else _EIGHT_BITS if zero is None else _BOUNDS[zero.dtype]
        steps = rounded(value / _aligned(scale, value, axis, block))
        return torch.clamp(steps if zero is None else steps + _aligned(zero, value, axis, block), low, high)

    return quantize


def _dequantize(call: Call) -> Operation:
    axis, block = call.integer("axis", 1), call.integer("block_size")

    def dequantize(value: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        steps = value.to(scale.dtype)
        if zero is not None:
            steps = steps - _aligned(zero, value, axis, block).to(scale.dtype)
        return steps * _aligned(scale, value, axis, block)

    return dequantize


def _dynamic(_: Call) -> Operation:
    def quantize(value: Tensor) -> Sequence[Tensor]:
        low, high = value.detach().amin().clamp(max=0), value.detach().amax().clamp(min=0)
        scale = (high - low) / 255
        zero = torch.clamp(torch.round(-low / scale), 0, 255)
        return torch.clamp(rounded(value / scale) + zero, 0, 255), scale, zero.to(torch.uint8)

    return quantize


OPERATORS: dict[str, Operator] = {
    "DequantizeLinear": Operator(_dequantize, frozen=(2,)),
    "DynamicQuantizeLinear": Operator(_dynamic),
    "QuantizeLinear": Operator(_quantize, frozen=(2,)),
}

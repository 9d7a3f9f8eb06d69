"""Pooling over windows and over whole planes, and local response normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from onnxfp.embed.torch_graph.convolution import Window, padded
from onnxfp.embed.torch_graph.operator import Call, Operation, Operator, plain

_MAXIMUM: dict[int, Operation] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE: dict[int, Operation] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _maximum(call: Call) -> Operation:
    window, kernel, ceil = Window(call), call.integers("kernel_shape"), bool(call.integer("ceil_mode"))
    rank, indices = len(kernel), call.wants(1)
    strides, dilations = window.strides(rank), window.dilations(rank)
    call.only("storage_order", 0)

    def pool(value: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        before, after = window.pads(value.shape[2:], kernel)
        plane = value.shape[2:]
        if before != after or any(2 * pad > size for pad, size in zip(before, kernel, strict=True)):
            value, before = padded(value, before, after, -torch.inf), (0,) * rank
        found = _MAXIMUM[rank](value, kernel, strides, before, dilations, ceil, indices)
        return (found[0], _flat_indices(found[1], plane, value.shape[2:])) if indices else found

    return pool


def _flat_indices(at: Tensor, plane: Sequence[int], searched: Sequence[int]) -> Tensor:
    """From places in one plane to places in the whole tensor."""
    if tuple(plane) != tuple(searched):
        raise NotImplementedError("indices of a maximum found in an unevenly padded plane")
    planes = torch.arange(at.shape[0] * at.shape[1], device=at.device) * prod(plane)
    return at + planes.reshape(at.shape[0], at.shape[1], *[1] * len(plane))


def _average(call: Call) -> Operation:
    window, kernel, ceil = Window(call), call.integers("kernel_shape"), bool(call.integer("ceil_mode"))
    rank, include = len(kernel), bool(call.integer("count_include_pad"))
    if any(by != 1 for by in window.dilations(rank)):
        call.refuse("dilations")
    strides = window.strides(rank)

    def pool(value: Tensor) -> Tensor:
        before, after = window.pads(value.shape[2:], kernel)
        if before == after and all(2 * pad <= size for pad, size in zip(before, kernel, strict=True)):
            return _AVERAGE[rank](value, kernel, strides, before, ceil, include)
        total = _AVERAGE[rank](padded(value, before, after), kernel, strides, 0, ceil)
        if include:
            return total
        inside = padded(torch.ones_like(value[:1, :1]), before, after)
        return total / _AVERAGE[rank](inside, kernel, strides, 0, ceil)

    return pool


def _planes(value: Tensor) -> list[int]:
    return list(range(2, value.dim()))


def _response(call: Call) -> Operation:
    size, bias = call.integer("size", 1), call.number("bias", 1.0)
    alpha, beta = call.number("alpha", 1e-4), call.number("beta", 0.75)

    def normalize(value: Tensor) -> Tensor:
        squares = value.square().flatten(2).unsqueeze(1)
        squares = functional.pad(squares, (0, 0, (size - 1) // 2, size // 2))
        near = functional.avg_pool2d(squares, (size, 1), 1).squeeze(1).reshape(value.shape)
        return value / (bias + alpha * near) ** beta

    return normalize


OPERATORS: dict[str, Operator] = {
    "AveragePool": Operator(_average),
    "GlobalAveragePool": plain(lambda value: value.mean(_planes(value), keepdim=True)),
    "GlobalMaxPool": plain(lambda value: value.amax(_planes(value), keepdim=True)),
    "LRN": Operator(_response),
    "MaxPool": Operator(_maximum),
}

"""Reductions over axes, which the standard gives as an attribute or, later, as an input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from onnxfp.embed.torch_graph.operator import Builder, Call, Operation, Operator

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _reduction(reduce: Reduce) -> Builder:
    def build(call: Call) -> Operation:
        keep, empty_is_none = bool(call.integer("keepdims", 1)), bool(call.integer("noop_with_empty_axes"))
        attribute = list(call.integers("axes"))

        def run(value: Tensor, axes: list[int] | None = None) -> Tensor:
            chosen = axes or attribute
            if not chosen and empty_is_none:
                return value
            return reduce(value, chosen or list(range(value.dim())), keep)

        return run

    return build


def _mean(value: Tensor, axes: list[int], keep: bool) -> Tensor:
    if value.is_floating_point():
        return value.mean(axes, keep)
    return value.double().mean(axes, keep).to(value.dtype)


def _product(value: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % value.dim() for axis in axes), reverse=True):
        value = value.prod(axis, keep, dtype=value.dtype)
    return value


def _extreme(call: Call, name: str) -> Operation:
    axis, keep, last = call.integer("axis"), bool(call.integer("keepdims", 1)), call.integer("select_last_index")
    find = getattr(torch, name)

    def run(value: Tensor) -> Tensor:
        if not last:
            return find(value, axis, keep)
        return value.shape[axis] - 1 - find(value.flip(axis), axis, keep)

    return run


_REDUCTIONS: dict[str, Reduce] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep, dtype=x.dtype),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": torch.logsumexp,
    "ReduceMax": torch.amax,
    "ReduceMean": _mean,
    "ReduceMin": torch.amin,
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep, dtype=x.dtype),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep, dtype=x.dtype),
}
OPERATORS: dict[str, Operator] = {
    **{name: Operator(_reduction(reduce), host=(1,)) for name, reduce in _REDUCTIONS.items()},
    "ArgMax": Operator(lambda call: _extreme(call, "argmax")),
    "ArgMin": Operator(lambda call: _extreme(call, "argmin")),
}

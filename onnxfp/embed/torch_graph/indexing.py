"""Operators that pick values by position, or put them there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from onnxfp.embed.torch_graph.operator import Call, Operation, Operator, plain

_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _slice(call: Call) -> Operation:
    given = [list(call.integers(name)) or None for name in ("starts", "ends", "axes")]

    def cut(value: Tensor, *bounds: list[int] | None) -> Tensor:
        starts, ends, axes, steps = [*(bounds or given), None, None][:4]
        count = len(starts or ())
        for start, end, axis, step in zip(
            starts or (), ends or (), axes or range(count), steps or [1] * count, strict=True
        ):
            value = _along(value, axis, slice(start, end, step))
        return value

    return cut


def _along(value: Tensor, axis: int, part: slice) -> Tensor:
    if part.step > 0:
        return value[(slice(None),) * (axis % value.dim()) + (part,)]
    at = range(*part.indices(value.shape[axis]))
    if part.step == -1 and len(at) == value.shape[axis]:
        return value.flip(axis)
    return value.index_select(axis, torch.tensor(list(at), dtype=torch.int64, device=value.device))


# --- gather -----------------------------------------------------------------------------------------------------------


def _gather(call: Call) -> Operation:
    axis, known = call.integer("axis"), call.scalar(1)
    if known is not None and call.constants[call.node.inputs[1]].dim() == 0:
        return lambda data, _: data.select(axis, int(known))

    def gather(data: Tensor, indices: Tensor) -> Tensor:
        at = axis % data.dim()
        if at == 0 and data.dim() == 2 and data.is_floating_point():
            return functional.embedding(torch.remainder(indices, data.shape[0]), data)
        return data[(slice(None),) * at + (indices.long(),)]

    return gather


def _nonnegative(indices: Tensor, extent: int) -> Tensor:
    return torch.remainder(indices.long(), extent)


def _gather_elements(call: Call) -> Operation:
    axis = call.integer("axis")
    return lambda data, indices: data.gather(axis, _nonnegative(indices, data.shape[axis]))


def _gather_nd(call: Call) -> Operation:
    shared = call.integer("batch_dims")

    def gather(data: Tensor, indices: Tensor) -> Tensor:
        batches = [
            torch.arange(data.shape[axis], device=data.device).reshape(
                [-1 if at == axis else 1 for at in range(indices.dim() - 1)]
            )
            for axis in range(shared)
        ]
        return data[(*batches, *indices.long().unbind(-1))]

    return gather


# --- scatter ----------------------------------------------------------------------------------------------------------


def _scatter_elements(call: Call) -> Operation:
    axis, reduction = call.integer("axis"), call.text("reduction", "none")

    def scatter(data: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        at, values = _nonnegative(indices, data.shape[axis]), updates.to(data.dtype)
        if reduction == "none":
            return data.scatter(axis, at, values)
        return data.scatter_reduce(axis, at, values, _REDUCE[reduction])

    return scatter


def _scatter_nd(call: Call) -> Operation:
    reduction = call.text("reduction", "none")

    def scatter(data: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        at, values = indices.long().unbind(-1), updates.to(data.dtype)
        if reduction in ("none", "add"):
            return data.index_put(at, values, accumulate=reduction == "add")
        places = torch.arange(data.numel(), device=data.device).reshape(data.shape)[at].reshape(-1)
        flat = data.reshape(-1).scatter_reduce(0, places, values.reshape(-1), _REDUCE[reduction])
        return flat.reshape(data.shape)

    return scatter


# --- search -----------------------------------------------------------------------------------------------------------


def _top_k(call: Call) -> Operation:
    axis, attribute = call.integer("axis", -1), call.integer("k")
    largest, ordered = bool(call.integer("largest", 1)), bool(call.integer("sorted", 1))

    def top(value: Tensor, k: Sequence[int] = (attribute,)) -> tuple[Tensor, Tensor]:
        found, at = torch.topk(value, k[0], axis, largest, ordered)
        return found, at

    return top


def _one_hot(call: Call) -> Operation:
    axis = call.integer("axis", -1)

    def spread(indices: Tensor, depth: Sequence[int], values: Tensor) -> Tensor:
        count = int(depth[0])
        place = axis % (indices.dim() + 1)
        rows = torch.arange(count, device=indices.device).reshape([-1, *[1] * (indices.dim() - place)])
        hot = torch.remainder(indices.long(), count).unsqueeze(place) == rows
        hot = hot & ((indices >= -count) & (indices < count)).unsqueeze(place)
        return torch.where(hot, values[1], values[0])

    return spread


def _cumulated(call: Call) -> Operation:
    exclusive, reverse = call.integer("exclusive"), call.integer("reverse")

    def cumulate(value: Tensor, axes: Sequence[int]) -> Tensor:
        along = axes[0]
        value = value.flip(along) if reverse else value
        total = value.cumsum(along, dtype=value.dtype)
        total = total - value if exclusive else total
        return total.flip(along) if reverse else total

    return cumulate


def _compress(call: Call) -> Operation:
    axis = call.node.attributes.get("axis")

    def compress(value: Tensor, condition: Tensor) -> Tensor:
        at = condition.nonzero().reshape(-1)
        return value.reshape(-1)[at] if axis is None else value.index_select(int(axis), at)

    return compress


OPERATORS: dict[str, Operator] = {
    "Compress": Operator(_compress),
    "CumSum": Operator(_cumulated, host=(1,)),
    "Gather": Operator(_gather, view=True),
    "GatherElements": Operator(_gather_elements, view=True),
    "GatherND": Operator(_gather_nd, view=True),
    "NonZero": plain(lambda value: value.nonzero().t()),
    "OneHot": Operator(_one_hot, host=(1,), frozen=(2,)),
    "Scatter": Operator(_scatter_elements),
    "ScatterElements": Operator(_scatter_elements),
    "ScatterND": Operator(_scatter_nd),
    "Slice": Operator(_slice, host=(1, 2, 3, 4), view=True),
    "TopK": Operator(_top_k, host=(1,)),
}

"""Normalisation over batches, layers, groups and instances. Running statistics are frozen."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxfp.embed.torch_graph.operator import Call, Operation, Operator

_STATISTICS = (3, 4)


def _batch(call: Call) -> Operation:
    epsilon, momentum = call.number("epsilon", 1e-5), call.number("momentum", 0.9)
    call.only("spatial", 1)
    if not _by_batch(call):
        return lambda x, scale, bias, mean, var: functional.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)

    def normalize(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, ...]:
        y = functional.batch_norm(x, None, None, scale, bias, True, 0.0, epsilon)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        seen_var, seen_mean = torch.var_mean(x.detach().float(), axes, correction=0)
        running = (old * momentum + seen * (1 - momentum) for old, seen in ((mean, seen_mean), (var, seen_var)))
        return y, *running

    return normalize


def _by_batch(call: Call) -> bool:
    """Whether the file asks for the statistics of the batch at hand."""
    if call.opset >= 14:
        return bool(call.integer("training_mode"))
    if call.opset < 7:
        return not call.integer("is_test")
    return call.wants(1)


def _layer(call: Call) -> Operation:
    axis, epsilon, whole = call.integer("axis", -1), call.number("epsilon", 1e-5), len(call.node.outputs) == 1

    def normalize(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        shape = x.shape[axis:]
        if whole and scale.shape == shape and (bias is None or bias.shape == shape):
            return functional.layer_norm(x, shape, scale, bias, epsilon)
        axes = list(range(axis % x.dim(), x.dim()))
        var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        inverse = torch.rsqrt(var + epsilon)
        y = (x - mean) * inverse * scale
        return (y if bias is None else y + bias), mean, inverse

    return normalize


def _root_mean_square(call: Call) -> Operation:
    axis, epsilon = call.integer("axis", -1), call.number("epsilon", 1e-5)

    def normalize(x: Tensor, scale: Tensor) -> Tensor:
        axes = list(range(axis % x.dim(), x.dim()))
        return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon) * scale

    return normalize


def _skip_layer(call: Call) -> Operation:
    epsilon = call.number("epsilon", 1e-12)
    for position in (1, 2):
        if call.wants(position):
            call.refuse("statistics as outputs")

    def normalize(x: Tensor, skip: Tensor, gamma: Tensor, *shifts: Tensor | None) -> tuple[Tensor | None, ...]:
        beta, bias = [*shifts, None, None][:2]
        total = x + skip if bias is None else x + skip + bias
        return functional.layer_norm(total, gamma.shape, gamma, beta, epsilon), None, None, total

    return normalize


def _instance(call: Call) -> Operation:
    epsilon = call.number("epsilon", 1e-5)
    return lambda x, scale, bias: functional.group_norm(x, x.shape[1], scale, bias, epsilon)


def _group(call: Call) -> Operation:
    groups, epsilon = call.integer("num_groups"), call.number("epsilon", 1e-5)
    by_group = call.opset < 21  # one scale for a group, later for a channel

    def normalize(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if by_group:
            scale, bias = (values.repeat_interleave(x.shape[1] // groups) for values in (scale, bias))
        return functional.group_norm(x, groups, scale, bias, epsilon)

    return normalize


def _mean_variance(call: Call) -> Operation:
    axes = list(call.integers("axes") or (0, 2, 3))

    def normalize(x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return (x - mean) / (var.sqrt() + 1e-9)

    return normalize


def _length(call: Call) -> Operation:
    axis, power = call.integer("axis", -1), call.integer("p", 2)
    return lambda x: x / torch.linalg.vector_norm(x, power, axis, keepdim=True)


OPERATORS: dict[str, Operator] = {
    "BatchNormalization": Operator(_batch, frozen=_STATISTICS),
    "GroupNormalization": Operator(_group),
    "InstanceNormalization": Operator(_instance),
    "LayerNormalization": Operator(_layer),
    "LpNormalization": Operator(_length),
    "MeanVarianceNormalization": Operator(_mean_variance),
    "RMSNormalization": Operator(_root_mean_square),
    "SimplifiedLayerNormalization": Operator(_root_mean_square),
}
MICROSOFT: dict[str, Operator] = {
    "SkipLayerNormalization": Operator(_skip_layer),
}

"""Activation functions and softmax."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt

import torch
from torch import Tensor
from torch.nn import functional

from onnxfp.embed.torch_graph.operator import Call, Operation, Operator, plain


def _gelu(call: Call) -> Operation:
    approximate = call.text("approximate", "none")
    return lambda value: functional.gelu(value, approximate=approximate)


def _hard_sigmoid(call: Call) -> Operation:
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    if abs(alpha * 6 - 1) < 1e-6 and beta == 0.5:
        return functional.hardsigmoid
    return lambda value: torch.clamp(alpha * value + beta, 0, 1)


def _leaky_relu(call: Call) -> Operation:
    alpha = call.number("alpha", 0.01)
    return lambda value: functional.leaky_relu(value, alpha)


def _elu(call: Call) -> Operation:
    alpha = call.number("alpha", 1.0)
    return lambda value: functional.elu(value, alpha)


def _celu(call: Call) -> Operation:
    alpha = call.number("alpha", 1.0)
    return lambda value: functional.celu(value, alpha)


def _selu(call: Call) -> Operation:
    alpha, gamma = call.number("alpha", 1.67326319217681884765625), call.number("gamma", 1.05070102214813232421875)
    return lambda value: gamma * functional.elu(value, alpha)


def _thresholded_relu(call: Call) -> Operation:
    alpha = call.number("alpha", 1.0)
    return lambda value: torch.where(value > alpha, value, 0.0)


def _shrink(call: Call) -> Operation:
    bias, bound = call.number("bias", 0.0), call.number("lambd", 0.5)
    return lambda x: torch.where(x < -bound, x + bias, torch.where(x > bound, x - bias, 0.0))


def _swish(call: Call) -> Operation:
    alpha = call.number("alpha", 1.0)
    return lambda value: value * torch.sigmoid(alpha * value)


def _quick_gelu(call: Call) -> Operation:
    alpha = call.number("alpha", 1.702)
    return lambda value: value * torch.sigmoid(alpha * value)


def _fast_gelu(value: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.gelu(value if bias is None else value + bias, approximate="tanh")


def _prelu(value: Tensor, slope: Tensor) -> Tensor:
    return torch.where(value >= 0, value, value * slope)


def _normalized(operation: Callable[..., Tensor]) -> Callable[[Call], Operation]:
    """Softmax and its kin; before opset 13 all axes from `axis` on were taken together."""

    def build(call: Call) -> Operation:
        if call.opset >= 13:
            last = call.integer("axis", -1)
            return lambda value: operation(value, dim=last)
        axis = call.integer("axis", 1)

        def flattened(value: Tensor) -> Tensor:
            rows = prod(value.shape[: axis % (value.dim() + 1) if axis >= 0 else axis])
            return operation(value.reshape(rows, -1), dim=1).reshape(value.shape)

        return flattened

    return build


def _hardmax(value: Tensor, dim: int) -> Tensor:
    return torch.zeros_like(value).scatter(dim, value.argmax(dim, keepdim=True), 1.0)


def _gelu_by_erf(value: Tensor, bias: Tensor | None = None) -> Tensor:
    value = value if bias is None else value + bias
    return 0.5 * value * (1 + torch.erf(value / sqrt(2)))


OPERATORS: dict[str, Operator] = {
    "Celu": Operator(_celu),
    "Elu": Operator(_elu),
    "Gelu": Operator(_gelu),
    "HardSigmoid": Operator(_hard_sigmoid),
    "HardSwish": plain(functional.hardswish),
    "Hardmax": Operator(_normalized(_hardmax)),
    "LeakyRelu": Operator(_leaky_relu),
    "LogSoftmax": Operator(_normalized(functional.log_softmax)),
    "Mish": plain(functional.mish),
    "PRelu": plain(_prelu),
    "Relu": plain(functional.relu),
    "Selu": Operator(_selu),
    "Shrink": Operator(_shrink),
    "Sigmoid": plain(torch.sigmoid),
    "Softmax": Operator(_normalized(functional.softmax)),
    "Softplus": plain(lambda value: torch.logaddexp(value, torch.zeros_like(value))),
    "Softsign": plain(functional.softsign),
    "Swish": Operator(_swish),
    "Tanh": plain(torch.tanh),
    "ThresholdedRelu": Operator(_thresholded_relu),
}
MICROSOFT: dict[str, Operator] = {
    "BiasGelu": plain(_gelu_by_erf),
    "FastGelu": plain(_fast_gelu),
    "Gelu": plain(_gelu_by_erf),
    "QuickGelu": Operator(_quick_gelu),
}

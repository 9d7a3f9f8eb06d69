"""Elementwise operators: arithmetic, comparisons, logic, conversions between element types."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from onnxfp.embed.torch_graph.operator import Builder, Call, Operation, Operator, plain

# Narrow floats run in single precision: training them needs it, and on a CPU it is faster.
TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.int32,  # unsigned integers of 16 bits and more are held in a wider signed type
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float32,
    11: torch.float64,
    12: torch.int64,
    13: torch.int64,
    16: torch.float32,
}


def element_type(call: Call, code: int) -> torch.dtype:
    """Return torch's type for a code of TensorProto.DataType, or refuse the node."""
    if code not in TYPES:
        call.refuse(f"element type {code}")
    return TYPES[code]


Bound = list[float] | None


# --- arithmetic ---------------------------------------------------------------------------------------------------


def _legacy(call: Call, operation: Operation) -> Operation:
    """Before opset 7, the second operand was aligned with `axis` of the first."""
    if call.opset >= 7 or not call.integer("broadcast") or "axis" not in call.node.attributes:
        return operation
    axis = call.integer("axis")

    def aligned(a: Tensor, b: Tensor) -> Tensor:
        return operation(a, b.reshape(*b.shape, *[1] * (a.dim() - axis - b.dim())))

    return aligned


def _binary(operation: Operation) -> Builder:
    return lambda call: _legacy(call, operation)


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _power(call: Call) -> Operation:
    exponent = call.scalar(1)
    if exponent is not None:
        return lambda base, _: base.pow(exponent).to(base.dtype)
    return lambda base, by: base.pow(by).to(base.dtype)


def _modulo(call: Call) -> Operation:
    operation: Operation = torch.fmod if call.integer("fmod") else torch.remainder
    return operation


def _chain(operation: Operation) -> Operation:
    return lambda *terms: reduce(operation, terms)


def _mean(*terms: Tensor) -> Tensor:
    return reduce(torch.add, terms) / len(terms)


def _shift(call: Call) -> Operation:
    left = call.text("direction") == "LEFT"
    operation: Operation = torch.bitwise_left_shift if left else torch.bitwise_right_shift
    return operation


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition.bool(), a, b)


# --- conversions --------------------------------------------------------------------------------------------------


def _cast(call: Call) -> Operation:
    dtype = element_type(call, call.integer("to", 1))
    if call.node.inputs[0] in call.quantized and dtype in (torch.uint8, torch.int8):
        return lambda value: value
    return lambda value: value.to(dtype)


def _is_infinite(call: Call) -> Operation:
    signs = [bound for bound, name in ((torch.inf, "positive"), (-torch.inf, "negative")) if _detects(call, name)]

    def found(value: Tensor) -> Tensor:
        return reduce(torch.logical_or, [value == bound for bound in signs], torch.zeros_like(value, dtype=torch.bool))

    return found


def _detects(call: Call, sign: str) -> bool:
    return bool(call.integer(f"detect_{sign}", 1))


def _clip(call: Call) -> Operation:
    if call.opset >= 11:
        return _clamp
    low, high = call.number("min", -torch.inf), call.number("max", torch.inf)
    return lambda value: torch.clamp(value, low, high)


def _clamp(value: Tensor, low: Bound = None, high: Bound = None) -> Tensor:
    if low is None and high is None:
        return value
    return torch.clamp(value, low and low[0], high and high[0])


_UNARY = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Round": torch.round,  # halves to even, as the standard says
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
}
_BINARY = {
    "Add": torch.add,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Div": _divide,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}
OPERATORS: dict[str, Operator] = {
    **{name: plain(operation) for name, operation in _UNARY.items()},
    **{name: Operator(_binary(operation)) for name, operation in _BINARY.items()},
    "BitShift": Operator(_shift),
    "Cast": Operator(_cast, view=True),
    "CastLike": plain(lambda value, like: value.to(like.dtype)),
    "Clip": Operator(_clip, host=(1, 2)),
    "IsInf": Operator(_is_infinite),
    "Max": plain(_chain(torch.maximum)),
    "Mean": plain(_mean),
    "Min": plain(_chain(torch.minimum)),
    "Mod": Operator(_modulo),
    "Pow": Operator(_power),
    "Sum": plain(_chain(torch.add)),
    "Where": plain(_where),
}

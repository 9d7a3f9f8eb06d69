"""The few operators of the domain ai.onnx.ml that stand around a neural network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from onnxfp.embed.torch_graph.operator import Call, Operation, Operator, plain


def _scaler(call: Call) -> Operation:
    shift, factor = (
        torch.tensor(call.node.attributes.get(name, (default,))) for name, default in (("offset", 0.0), ("scale", 1.0))
    )

    def scale(value: Tensor) -> Tensor:
        return (value.to(torch.float32) - shift.to(value.device)) * factor.to(value.device)

    return scale


def _normalizer(call: Call) -> Operation:
    norm = call.text("norm", "MAX")
    if norm == "MAX":
        return lambda value: value / value.amax(-1, keepdim=True)
    power = {"L1": 1, "L2": 2}[norm]
    return lambda value: functional.normalize(value.to(torch.float32), power, -1)


def _extract(value: Tensor, at: Tensor) -> Tensor:
    return value.reshape(1, -1)[:, at.reshape(-1).long()] if value.dim() == 1 else value[..., at.reshape(-1).long()]


OPERATORS: dict[str, Operator] = {
    "ArrayFeatureExtractor": plain(_extract, view=True),
    "Normalizer": Operator(_normalizer),
    "Scaler": Operator(_scaler),
    "ZipMap": plain(lambda value: value),  # a column for each class instead of a map
}

"""Every operator that can be interpreted, by domain and name."""

from __future__ import annotations

from collections.abc import Mapping

from onnxfp.embed.torch_graph import (
    activations,
    arithmetic,
    classical,
    convolution,
    indexing,
    normalization,
    pooling,
    products,
    quantization,
    recurrent,
    reductions,
    resizing,
    shapes,
)
from onnxfp.embed.torch_graph.operator import Operator

_STANDARD: Mapping[str, Operator] = {
    **activations.OPERATORS,
    **arithmetic.OPERATORS,
    **convolution.OPERATORS,
    **indexing.OPERATORS,
    **normalization.OPERATORS,
    **pooling.OPERATORS,
    **products.OPERATORS,
    **quantization.OPERATORS,
    **recurrent.OPERATORS,
    **reductions.OPERATORS,
    **resizing.OPERATORS,
    **shapes.OPERATORS,
}
_DOMAINS: Mapping[str, Mapping[str, Operator]] = {
    "": _STANDARD,
    "ai.onnx": _STANDARD,
    "ai.onnx.ml": classical.OPERATORS,
    "com.microsoft": {**activations.MICROSOFT, **normalization.MICROSOFT, **products.MICROSOFT},
}


def operator_of(domain: str, name: str) -> Operator | None:
    """Return what is known of an operator; None when it cannot be interpreted."""
    return _DOMAINS.get(domain, {}).get(name)

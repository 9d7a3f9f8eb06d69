"""What becomes of the classes in each operator between a head and the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from onnxfp.artifact import views
from onnxfp.artifact.classes import Classes, without
from onnxfp.artifact.dtypes import DTYPES
from onnxfp.artifact.flow import FLOATS, Flow, called, refuse
from onnxfp.artifact.records import NodeRecord


def _same(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    del flow, node
    return found


def _cast(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    dtype = DTYPES.get(flow.integer(node, "to", 0))
    if dtype is None or dtype.name not in FLOATS:
        refuse("logits that stay numbers with fractions", f"{called(node)}")
    return replace(found, dtype=dtype.name)


def _softmax(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    axis = found.at(flow.integer(node, "axis", -1 if flow.opset >= 13 else 1), node)
    if axis != found.axis or found.answered or not found.one_answer:
        refuse("one softmax over the classes, of one answer for each example", f"another, {called(node)}")
    return replace(found, answered=True)


def _relu(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    del flow
    return _unanswered(node, found)


def _unanswered(node: NodeRecord, found: Classes) -> Classes:
    if found.answered:
        refuse("nothing but views of the probabilities", f"{called(node)} after the softmax")
    return found


def _global_pool(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    del flow
    shape = _unanswered(node, found).of_rank(node)
    if found.axis != 1:
        refuse("a pool beside the classes", f"{called(node)} over axis {found.axis} of them")
    return replace(found, shape=(*shape[:2], *(1,) * (len(shape) - 2)))


def _pool(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    shape = _unanswered(node, found).of_rank(node)
    attributes = flow.attributes(node)
    pads, kernel = attributes.get("pads", ()), attributes.get("kernel_shape", ())
    automatic = attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    padded = automatic or (isinstance(pads, tuple) and any(pads))
    if found.axis != 1 or (padded and attributes.get("count_include_pad", 0)):
        refuse("a pool beside the classes that counts no padding", f"another, {called(node)}")
    whole = not padded and shape[2:] == kernel
    return replace(found, shape=(*shape[:2], *(1 if whole else None for _ in shape[2:])))


def _reduce(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    shape = _unanswered(node, found).of_rank(node)
    axes = {found.at(axis, node) for axis in flow.integers(node, "axes", 1) or range(len(shape))}
    if found.axis in axes:
        refuse("a reduction beside the classes", f"one over them, {called(node)}")
    if flow.integer(node, "keepdims", 1):
        return replace(found, shape=tuple(1 if axis in axes else extent for axis, extent in enumerate(shape)))
    return without(found, axes)


Passage = Callable[[Flow, NodeRecord, Classes], Classes]
PASSAGES: Mapping[str, Passage] = {
    "AveragePool": _pool,
    "Cast": _cast,
    "Dropout": _same,
    "Expand": views.expand,
    "Flatten": views.flatten,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "Identity": _same,
    "LogSoftmax": _softmax,
    "MaxPool": _pool,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "Relu": _relu,
    "Reshape": views.reshape,
    "Softmax": _softmax,
    "Squeeze": views.squeeze,
    "Transpose": views.transpose,
    "Unsqueeze": views.unsqueeze,
}
"""Operator -> what becomes of the classes."""
LOGIT_MAKERS = frozenset(
    {"Add", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMax", "ReduceMean", "Relu"}
)
"""Those behind which the logits are others than before."""

"""A constant that has a slice for each class: found through the views that stand before its consumer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn

from onnxfp.artifact.dtypes import DTYPES
from onnxfp.artifact.flow import FLOATS, STANDARD, Flow, called, refuse
from onnxfp.artifact.records import NodeRecord, TensorRecord
from onnxfp.artifact.wire import shown

_VIEWS = ("Identity", "Cast", "Transpose", "Reshape")
_QUANTISED = ("DequantizeLinear", "QuantizeLinear", "Quant")
_MAX_HOPS = 16  # views between a constant and its consumer


@dataclass(frozen=True)
class Parameter:
    """A stored tensor, seen from the operator that takes it."""

    record: TensorRecord
    axis: int
    """Of the stored tensor: what counts the classes."""
    dtype: str
    """Of the value that the operator takes."""
    views: tuple[tuple[str, int], ...] = ()
    """Values made of it, each with its own axis of classes."""
    reshape: tuple[int, int] | None = None
    """A Reshape on the way, and the entry of its shape that says how many classes there are."""

    @property
    def classes(self) -> int:
        """How many slices it has."""
        return self.record.shape[self.axis]


def is_constant(flow: Flow, name: str) -> bool:
    """Whether a value is a tensor of the model, or a view of one."""
    return _behind(flow, name)[-1] in flow.tensors


def parameter(flow: Flow, name: str, axis: int, rank: int | None) -> Parameter:
    """Find the tensor behind a value, and its axis that is `axis` of the value.

    Args:
        flow: the graph.
        name: the value that an operator takes.
        axis: counted from the front, or from the back when it is negative.
        rank: what the value must have, if anything.

    Raises:
        UsageError: it is computed, quantised, tied, or of another element type or rank.
    """
    chain = _behind(flow, name)
    stored = flow.tensors.get(chain[-1])
    if stored is None or stored.sparse_shape is not None:
        _refuse_computed(flow, chain[-1])
    for value in chain:
        if flow.uses[value] != 1:
            refuse(f"weights that the head has to itself, '{shown(value)}'", f"{flow.uses[value]} uses of them")
    if stored.dtype not in FLOATS:
        refuse(f"a head of {', '.join(FLOATS)} weights", f"{stored.dtype} in '{shown(stored.name)}'")
    nodes = [flow.nodes[flow.producers[value]] for value in chain[:-1]]
    found = _through(flow, chain, nodes, axis)
    shown_rank = len(_target(flow, nodes)) or len(stored.shape)
    if (rank is not None and shown_rank != rank) or found.axis >= len(stored.shape) or found.axis < 0:
        refuse(f"a head's weight of rank {rank}", f"the shape {list(stored.shape)} of '{shown(stored.name)}'")
    return found


def _behind(flow: Flow, name: str) -> list[str]:
    """The value, what it is a view of, and so on back."""
    chain = [name]
    while chain[-1] not in flow.tensors and len(chain) < _MAX_HOPS:
        at = flow.producers.get(chain[-1])
        if at is None or not _is_view(flow.nodes[at]):
            break
        chain.append(flow.nodes[at].inputs[0])
    return chain


def _is_view(node: NodeRecord) -> bool:
    return node.op_type in _VIEWS and node.domain in STANDARD and bool(node.inputs)


def _target(flow: Flow, nodes: list[NodeRecord]) -> tuple[int, ...]:
    """What a Reshape among the views makes of the tensor; empty without one."""
    shapes = [flow.constant(node.inputs[1]) or () for node in nodes if node.op_type == "Reshape"]
    return shapes[-1] if shapes else ()


def _through(flow: Flow, chain: list[str], nodes: list[NodeRecord], axis: int) -> Parameter:
    """Follow the axis from the operator back to the stored tensor."""
    stored = flow.tensors[chain[-1]]
    rank = len(_target(flow, nodes)) or len(stored.shape)
    axis = axis if axis >= 0 else axis + rank
    views, reshape = [], None
    for node, (value, source) in zip(nodes, pairwise(chain), strict=True):
        views.append((value, axis))
        if node.op_type == "Transpose":
            axis = _before(flow, node, axis, rank)
        elif node.op_type == "Reshape":
            shape = _target(flow, [node])
            fits = source == chain[-1] and shape and axis == len(shape) - 1
            if not fits or shape[-1] not in (-1, stored.shape[-1]):
                refuse("a Reshape of a head's weight that keeps the classes last", f"another, {called(node)}")
            reshape = (flow.producers[value], axis) if shape[-1] > 0 else None
            axis = len(stored.shape) - 1
    return Parameter(stored, axis, _dtype(flow, nodes, stored), tuple(views), reshape)


def _dtype(flow: Flow, nodes: list[NodeRecord], stored: TensorRecord) -> str:
    """The element type behind all views; the Cast nearest to the operator decides."""
    code = next((flow.integer(node, "to", 0) for node in nodes if node.op_type == "Cast"), None)
    dtype = stored.dtype if code is None else DTYPES[code].name if code in DTYPES else "undefined"
    if dtype not in FLOATS:
        refuse(f"a head of {', '.join(FLOATS)} weights", f"a Cast of '{shown(stored.name)}' to {dtype}")
    return dtype


def _before(flow: Flow, node: NodeRecord, axis: int, rank: int) -> int:
    order = flow.integers(node, "perm", len(node.inputs)) or tuple(range(rank))[::-1]
    if sorted(order) != list(range(rank)) or axis >= rank:
        refuse(f"an order of {rank} axes", f"{called(node)}")
    return order[axis]


def _refuse_computed(flow: Flow, name: str) -> NoReturn:
    at = flow.producers.get(name)
    if at is None:
        refuse("a head with constant weights", f"'{shown(name)}', which is an input of the model or a sparse tensor")
    if flow.nodes[at].op_type in _QUANTISED:
        refuse("a head in float", f"quantised weights from {called(flow.nodes[at])}")
    refuse("a head with constant weights", f"computed ones from {called(flow.nodes[at])}")

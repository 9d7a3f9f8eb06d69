"""From the records of an artifact to a graph with values, as training takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from onnxfp.artifact import Artifact, NodeRecord, TensorRecord, shown
from onnxfp.embed.graph import Graph, Node
from onnxfp.errors import UsageError

_STANDARD = ("", "ai.onnx")
_NUMPY = {"float": "f4", "double": "f8", "float16": "f2", "bool": "u1"} | {
    f"{sign}int{bits}": f"{kind}{bits // 8}" for sign, kind in (("", "i"), ("u", "u")) for bits in (8, 16, 32, 64)
}
_NARROW = {"int2": np.int8, "int4": np.int8, "uint2": np.uint8, "uint4": np.uint8}
_REAL = ("bfloat16", "float8", "float6", "float4")
_ADVICE = "use a scheme that needs no training"


def graph_of(artifact: Artifact) -> Graph:
    """Return the computation of an artifact, with every constant that it refers to, under the artifact's names.

    Element types that numpy lacks come as the smallest of its types that holds all their values exactly; texts come as
    their places in their tensor, so that what names a class in the file numbers it here.

    Raises:
        UsageError: a node has a graph or a function inside, or a constant is no plain array of numbers.
    """
    records = artifact.graph
    nodes = [node for node in records.nodes if not node.scope]
    _refuse_inner_graphs(artifact, nodes)
    tensors = {record.value: record for record in artifact.tensors if not record.scope and record.value}
    attached = _attached(tensors)
    operations = {at: node for at, node in enumerate(nodes) if not _is_constant(node, tensors)}
    used = {name for node in operations.values() for name in node.inputs} | set(records.outputs)
    return Graph(
        inputs=tuple(name for name in records.inputs if name not in tensors),
        outputs=records.outputs,
        nodes=tuple(_node(artifact, node, attached.get(at, {})) for at, node in operations.items()),
        tensors={record.name: _values(artifact, record) for name, record in tensors.items() if name in used},
        opset=max((version for domain, version in records.opsets if domain in _STANDARD), default=0),
    )


def _is_constant(node: NodeRecord, tensors: Mapping[str, TensorRecord]) -> bool:
    """Whether the node's value is among the tensors, under the name of its output."""
    return (
        node.op_type == "Constant"
        and node.domain in _STANDARD
        and node.outputs[:1] != ()
        and (node.outputs[0] in tensors)
    )


def _attached(tensors: Mapping[str, TensorRecord]) -> dict[int, dict[str, TensorRecord]]:
    """Tensors that are attributes of a node, by its place in the file: they are called ``#place.attribute``."""
    found: dict[int, dict[str, TensorRecord]] = {}
    for name, record in tensors.items():
        place, _, attribute = name[1:].partition(".")
        if name.startswith("#") and place.isdecimal():
            found.setdefault(int(place), {})[attribute] = record
    return found


def _node(artifact: Artifact, node: NodeRecord, attached: Mapping[str, TensorRecord]) -> Node:
    attributes: dict[str, Any] = {name: _plain(value) for name, value in artifact.attributes(node).items()}
    attributes |= {name: _values(artifact, record) for name, record in attached.items()}
    return Node(node.op_type, node.domain, node.name, node.inputs, node.outputs, attributes)


def _plain(value: Any) -> Any:
    """Texts as such, not as bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return tuple(_plain(item) for item in value) if isinstance(value, tuple) else value


# --- values -----------------------------------------------------------------------------------------------------------


def _values(artifact: Artifact, record: TensorRecord) -> npt.NDArray[Any]:
    """Read a tensor as it is stored."""
    if record.sparse_shape is not None:
        _refuse("dense constants", f"the sparse tensor '{shown(record.name)}'")
    if record.dtype in _NARROW:
        return artifact.read(record).astype(_NARROW[record.dtype]).reshape(record.shape)
    if record.dtype.startswith(_REAL):
        return artifact.read(record).reshape(record.shape)
    if record.dtype == "string":
        return np.arange(record.size).reshape(record.shape)
    if record.dtype not in _NUMPY:
        _refuse("constants that are real numbers", f"{record.dtype} in '{shown(record.name)}'")
    data = np.empty(record.type.stored_bytes(record.size), dtype=np.uint8)
    at = 0
    for piece in artifact.read_bytes(record):
        data[at : at + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
        at += len(piece)
    values = data.view(f"<{_NUMPY[record.dtype]}").reshape(record.shape)
    return values.astype(np.bool_) if record.dtype == "bool" else values


# --- what cannot be translated ----------------------------------------------------------------------------------------


def _refuse_inner_graphs(artifact: Artifact, nodes: list[NodeRecord]) -> None:
    functions = {scope.function for scope in artifact.graph.scopes if scope.function is not None}
    for node in nodes:
        if (node.domain, node.op_type, node.overload) in functions:
            _refuse("a graph without local functions", f"a call of {_named(node)}")
    for scope in artifact.graph.scopes:
        place = scope.name[1:].partition(".")[0]
        if scope.parent == "" and scope.name.startswith("#") and place.isdecimal():
            _refuse("a graph without graphs inside", f"one in {_named(nodes[int(place)])}")


def _named(node: NodeRecord) -> str:
    where = node.name or next((name for name in node.outputs if name), "")
    return f"{shown(node.op_type)} '{shown(where)}'"


def _refuse(expected: str, found: str) -> NoReturn:
    raise UsageError(f"expected {expected}, found {found}; {_ADVICE}")

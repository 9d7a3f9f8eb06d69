"""The main graph as values that flow: who makes each, who takes it, what is constant, which shapes are declared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, final

import numpy as np

from onnxfp.artifact.attributes import Attribute
from onnxfp.artifact.dtypes import DTYPES
from onnxfp.artifact.graph import split
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.records import NodeRecord, TensorRecord
from onnxfp.artifact.stored import canonical
from onnxfp.artifact.wire import DELIMITED, VARINT, Window, shown, signed
from onnxfp.errors import UsageError

Shape = tuple[int | None, ...]
STANDARD = ("", "ai.onnx")
_MAX_DIMS = 64  # entries of a constant that is read as a shape


@final
@dataclass(frozen=True)
class Flow:
    """The main graph of one artifact."""

    artifact: Artifact
    nodes: tuple[NodeRecord, ...]
    producers: Mapping[str, int]
    """Value -> place of the node that makes it."""
    uses: Counter[str]
    """Value -> how often it is taken: by nodes, by graphs inside, as an output of the graph."""
    inner: frozenset[str]
    """Values that graphs inside name."""
    tensors: Mapping[str, TensorRecord]
    shapes: Mapping[str, Shape]
    """Declared shapes."""
    opset: int

    def attributes(self, node: NodeRecord) -> dict[str, Attribute]:
        """Read a node's attributes."""
        return self.artifact.attributes(node)

    def integer(self, node: NodeRecord, name: str, default: int) -> int:
        """Read an integer attribute."""
        value = self.attributes(node).get(name, default)
        return value if isinstance(value, int) else default

    def integers(self, node: NodeRecord, name: str, slot: int) -> tuple[int, ...] | None:
        """Read what older versions have as an attribute and newer ones as an input; None where it is left out.

        Raises:
            UsageError: the input is computed.
        """
        if len(node.inputs) > slot and node.inputs[slot]:
            found = self.constant(node.inputs[slot])
            if found is None:
                refuse(f"{called(node)} with constant {name}", "computed ones")
            return found
        value = self.attributes(node).get(name)
        return tuple(item for item in value if isinstance(item, int)) if isinstance(value, tuple) else None

    def constant(self, name: str) -> tuple[int, ...] | None:
        """Return a short list of integers that the model holds, or None."""
        record = self.tensors.get(name)
        if record is None or record.dtype != "int64" or record.size > _MAX_DIMS or record.sparse_shape is not None:
            return None
        return tuple(canonical(self.artifact, record, 0, record.size).view(np.dtype("<i8")).tolist())

    def names(self) -> set[str]:
        """Every name that the model uses anywhere."""
        graph = self.artifact.graph
        found = {name for node in graph.nodes for name in (node.name, *node.inputs, *node.outputs)}
        found |= {record.value for record in self.artifact.tensors} | set(self.shapes)
        return found | {name for scope in graph.scopes for name in (*scope.inputs, *scope.outputs)}


def flow_of(artifact: Artifact) -> Flow:
    """Return the main graph of an artifact.

    Raises:
        ArtifactError: declared shapes are malformed.
    """
    graph = artifact.graph
    nodes = tuple(node for node in graph.nodes if not node.scope)
    inside = [node for node in graph.nodes if node.scope and not node.scope.startswith("function")]
    inner = {name for node in inside for name in node.inputs}
    inner |= {name for scope in graph.scopes if scope.name for name in scope.outputs}
    uses = Counter(name for node in (*nodes, *inside) for name in node.inputs)
    uses.update(graph.outputs)
    return Flow(
        artifact=artifact,
        nodes=nodes,
        producers={name: at for at, node in enumerate(nodes) for name in node.outputs if name},
        uses=uses,
        inner=frozenset(inner),
        tensors={record.value: record for record in artifact.tensors if not record.scope},
        shapes=_declared(artifact),
        opset=max((version for domain, version in graph.opsets if domain in STANDARD), default=0),
    )


def _declared(artifact: Artifact) -> dict[str, Shape]:
    """Shapes of inputs, outputs and values in between, where the file declares them."""
    window = Window(artifact.fd, artifact.identity.size, artifact.label)
    span = split(window, (0, window.size), {7: DELIMITED}, (), "model").once[7][1:]
    graph = split(window, span, {}, (11, 12, 13), "graph")
    found: dict[str, Shape] = {}
    for number in (13, 11, 12):
        for _, begin, end in graph.pieces(number):
            value = split(window, (begin, end), {1: DELIMITED, 2: DELIMITED}, (), "value").once
            shape = _shape(window, value.get(2, (0, 0, 0))[1:])
            if 1 in value and shape is not None:
                found[window.text(*value[1][1:])] = shape
    return found


def _shape(window: Window, span: tuple[int, int]) -> Shape | None:
    for number in (1, 2):  # TypeProto.tensor_type, Tensor.shape
        once = split(window, span, {number: DELIMITED}, (), "type").once
        if number not in once:
            return None
        span = once[number][1:]
    dims = split(window, span, {}, (1,), "shape").pieces(1)
    return tuple(_extent(window, (begin, end)) for _, begin, end in dims)


def _extent(window: Window, span: tuple[int, int]) -> int | None:
    once = split(window, span, {1: VARINT}, (), "dimension").once
    return signed(once[1][0]) if 1 in once else None


# --- what is said when something cannot be followed -------------------------------------------------------------------


def called(node: NodeRecord) -> str:
    """Return a node's operator and name, safe to print."""
    where = node.name or next((name for name in node.outputs if name), "")
    domain = "" if node.domain in STANDARD else f"{node.domain}:"
    return f"{shown(domain + node.op_type)} '{shown(where)}'"


def refuse(expected: str, found: str) -> NoReturn:
    """Say in one line why a model's head cannot be changed.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"expected {expected}, found {found}; export the classifier in float, with its head and softmax last"
    )


FLOATS = tuple(DTYPES[code].name for code in (1, 10, 16, 11))
"""Element types that a head may have."""

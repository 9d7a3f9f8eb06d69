"""A classifier's head: the last Gemm, MatMul or Conv before the first output, and its weight of one slice a class."""

from __future__ import annotations

from dataclasses import dataclass

from onnxfp.artifact.flow import STANDARD, Flow, called, flow_of, refuse
from onnxfp.artifact.parameter import Parameter, is_constant, parameter
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.records import NodeRecord
from onnxfp.artifact.wire import shown

OLDEST = 7  # version of the operators since which the head's mean the same
_PASSED = frozenset(
    {
        "ArgMax",
        "AveragePool",
        "Cast",
        "Dropout",
        "Expand",
        "Flatten",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Identity",
        "LogSoftmax",
        "MaxPool",
        "ReduceMax",
        "ReduceMean",
        "Relu",
        "Reshape",
        "Softmax",
        "Squeeze",
        "TopK",
        "Transpose",
        "Unsqueeze",
    }
)
_QUANTISED = frozenset(
    {
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QGemm",
        "QLinearConv",
        "QLinearMatMul",
        "Quant",
    }
)


@dataclass(frozen=True)
class Head:
    """The operator whose outputs are the logits, or grow into them."""

    place: int
    node: NodeRecord
    weight: Parameter
    after: int
    """Axes of its output that follow the classes."""
    rank: int | None
    """Of its output."""
    path: tuple[int, ...]
    """Places of the nodes from it, exclusive, to the first output."""

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return self.weight.classes

    @property
    def output(self) -> str:
        """The value that it makes."""
        return self.node.outputs[0]


def classes_of(artifact: Artifact) -> int:
    """Return how many classes a classifier tells apart.

    Raises:
        UsageError: no head of a classifier is found.
    """
    return find_head(flow_of(artifact)).classes


def find_head(flow: Flow) -> Head:
    """Walk back from the first output to the operator that separates the classes.

    Raises:
        UsageError: there is none, or it is none that can be changed; the message says why.
    """
    if flow.opset < OLDEST:
        refuse(f"operators of version {OLDEST} or newer", f"version {flow.opset}")
    if any(scope.function and scope.function[0] in STANDARD for scope in flow.artifact.graph.scopes):
        refuse("the standard's own operators", "a local function in their place")
    path: list[int] = []
    name = next(iter(flow.artifact.graph.outputs), "")
    while True:
        place = flow.producers.get(name)
        if place is None or len(path) > len(flow.nodes):
            refuse("a classifier whose first output comes of a Gemm, MatMul or Conv", f"none before '{shown(name)}'")
        node = flow.nodes[place]
        if node.domain in STANDARD and node.op_type in _HEADS:
            return _head(flow, place, tuple(reversed(path)))
        path.append(place)
        name = _before(flow, node)


def _before(flow: Flow, node: NodeRecord) -> str:
    """The input of a node that carries the classes."""
    if node.op_type in _QUANTISED:
        refuse("a head in float", f"a quantised one, {called(node)}")
    if node.domain in STANDARD and node.inputs:
        computed = [name for name in node.inputs if not is_constant(flow, name)]
        if node.op_type == "Add" and len(computed) == 1:
            return computed[0]
        if node.op_type in _PASSED:
            return node.inputs[0]
    if node.op_type == "Where" and _is_gate(flow, node):
        refuse("a model without a gate", f"one that is gated already, {called(node)}")
    refuse("a classifier whose first output comes of a Gemm, MatMul or Conv", f"{called(node)} on the way to it")


def _is_gate(flow: Flow, node: NodeRecord) -> bool:
    """Whether a Where chooses what a comparison chose."""
    chosen = [inner for inner in _makers(flow, node.inputs) if inner.op_type == "Where"]
    return any(asked.op_type == "Greater" for inner in chosen for asked in _makers(flow, inner.inputs[:1]))


def _makers(flow: Flow, names: tuple[str, ...]) -> list[NodeRecord]:
    return [flow.nodes[flow.producers[name]] for name in names if name in flow.producers]


def _head(flow: Flow, place: int, path: tuple[int, ...]) -> Head:
    node = flow.nodes[place]
    slots = [name for name in node.inputs if name]
    if len(slots) < 2 or len(node.outputs) != 1:
        refuse("a head with a weight and one output", f"{called(node)} without")
    weight, after, rank = _HEADS[node.op_type](flow, node)
    if weight.classes < 2:
        refuse("a head of two or more classes", f"{weight.classes} in {called(node)}")
    return Head(place, node, weight, after, rank, path)


def _gemm(flow: Flow, node: NodeRecord) -> tuple[Parameter, int, int | None]:
    transposed = flow.integer(node, "transB", 0) != 0
    return parameter(flow, node.inputs[1], 0 if transposed else 1, 2), 0, 2


def _matmul(flow: Flow, node: NodeRecord) -> tuple[Parameter, int, int | None]:
    return parameter(flow, node.inputs[1], 1, 2), 0, None


def _conv(flow: Flow, node: NodeRecord) -> tuple[Parameter, int, int | None]:
    if flow.integer(node, "group", 1) != 1:
        refuse("a head that is no group convolution", f"{called(node)} of {flow.integer(node, 'group', 1)} groups")
    weight = parameter(flow, node.inputs[1], 0, None)
    rank = len(weight.record.shape)
    if rank < 3:
        refuse("a convolution's weight of three or more axes", f"{rank} in {called(node)}")
    return weight, rank - 2, rank


_HEADS = {"Gemm": _gemm, "MatMul": _matmul, "Conv": _conv}

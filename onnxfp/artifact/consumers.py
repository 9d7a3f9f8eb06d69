"""Which tensors are weights: traced from the operators that consume them, through views, subgraphs and functions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import final

from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.records import FunctionKey, NodeRecord, ScopeRecord, TensorRecord

# operator -> inputs that take weights (both sides of a product: the constant one is the weight)
WEIGHT_INPUTS = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "ConvInteger": (1,),
    "DeformConv": (1,),
    "FusedConv": (1,),
    "NhwcConv": (1,),
    "NhwcFusedConv": (1,),
    "QLinearConv": (3,),
    "Gemm": (0, 1),
    "FusedGemm": (0, 1),
    "QGemm": (0, 3),
    "MatMul": (0, 1),
    "FusedMatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "DynamicQuantizeMatMul": (1,),
    "QLinearMatMul": (0, 3),
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
    "DynamicQuantizeLSTM": (1, 2),
}
SEEN_THROUGH = frozenset(
    {
        "Identity",
        "Transpose",
        "Reshape",
        "Flatten",
        "Cast",
        "Squeeze",
        "Unsqueeze",
        "DequantizeLinear",
        "QuantizeLinear",
        "Quant",
        "Slice",
        "Concat",
    }
)
_DOMAINS = frozenset(
    {
        "",
        "ai.onnx",
        "com.microsoft",
        "com.microsoft.nchwc",
        "com.microsoft.nhwc",
        "com.ms.internal.nhwc",
        "onnx.brevitas",
        "qonnx.custom_op.general",
    }
)
_MAX_HOPS = 64  # views between a weight and its consumer
_MAX_PARTS = 64  # tensors concatenated into one weight
Value = tuple[str, str]
"""(scope, name)."""
Origin = str | tuple[FunctionKey, int]
"""A tensor's name, or which input of which function."""


def weights(artifact: Artifact) -> dict[str, tuple[TensorRecord, str]]:
    """Return the tensors that operators take as weights, by name, each with its first consumer; in the file's order."""
    found = _tracer(artifact).consumers()
    return {record.name: (record, found[record.name]) for record in artifact.tensors if record.name in found}


def _tracer(artifact: Artifact) -> _Tracer:
    graph = artifact.graph
    views = {
        (node.scope, output): node.inputs if node.op_type == "Concat" else node.inputs[:1]
        for node in graph.nodes
        if node.op_type in SEEN_THROUGH and node.domain in _DOMAINS and node.inputs
        for output in node.outputs[:1]
    }
    return _Tracer(
        nodes=graph.nodes,
        tensors={(t.scope, t.value): t.name for t in artifact.tensors if t.sparse_shape is None},
        scopes={scope.name: scope for scope in graph.scopes},
        functions=frozenset(scope.function for scope in graph.scopes if scope.function),
        views=views,
        formals={(scope.name, name): index for scope in graph.scopes for index, name in enumerate(scope.inputs)},
        produced=frozenset((node.scope, output) for node in graph.nodes for output in node.outputs),
    )


@final
@dataclass(frozen=True)
class _Tracer:
    """Follows values from consumers back to tensors; function inputs are followed on to their call sites."""

    nodes: tuple[NodeRecord, ...]
    tensors: Mapping[Value, str]
    scopes: Mapping[str, ScopeRecord]
    functions: frozenset[FunctionKey]
    views: Mapping[Value, tuple[str, ...]]
    """Output of a view -> the inputs that it shows."""
    produced: frozenset[Value]
    formals: Mapping[Value, int]
    """Input of a scope -> its index."""
    known: dict[Value, frozenset[Origin]] = field(default_factory=dict)
    """Answers already found."""

    def consumers(self) -> dict[str, str]:
        """Tensor name -> operator."""
        found: dict[str, str] = {}
        calls = self._calls()
        pending = deque(self._direct())
        seen: set[tuple[FunctionKey, int]] = set()
        while pending:
            value, operator = pending.popleft()
            for origin in sorted(self._origins(value), key=str):
                if isinstance(origin, str):
                    found.setdefault(origin, operator)
                elif origin not in seen:
                    seen.add(origin)
                    pending.extend((argument, operator) for argument in calls.get(origin, ()))
        return found

    def _direct(self) -> Iterator[tuple[Value, str]]:
        for node in self.nodes:
            if node.op_type in WEIGHT_INPUTS and node.domain in _DOMAINS:
                for index in WEIGHT_INPUTS[node.op_type]:
                    if index < len(node.inputs) and node.inputs[index]:
                        yield (node.scope, node.inputs[index]), node.op_type

    def _calls(self) -> dict[tuple[FunctionKey, int], list[Value]]:
        """What is passed for each input of each function."""
        calls: dict[tuple[FunctionKey, int], list[Value]] = {}
        for node in self.nodes:
            key = (node.domain, node.op_type, node.overload)
            for index, name in enumerate(node.inputs) if key in self.functions else ():
                calls.setdefault((key, index), []).append((node.scope, name))
        return calls

    def _origins(self, value: Value, hops: int = 0) -> frozenset[Origin]:
        """The tensors behind a value, or the function input that it is; empty when it is computed."""
        if value in self.tensors:
            return frozenset({self.tensors[value]})
        if value in self.known:
            return self.known[value]
        self.known[value] = frozenset()  # a cycle computes nothing
        if hops < _MAX_HOPS:
            self.known[value] = self._through(value, hops) if value in self.views else self._outer(value, hops)
        return self.known[value]

    def _through(self, value: Value, hops: int) -> frozenset[Origin]:
        parts = [self._origins((value[0], name), hops + 1) for name in self.views[value]]
        found = frozenset().union(*parts)
        return found if all(parts) and len(found) <= _MAX_PARTS else frozenset()

    def _outer(self, value: Value, hops: int) -> frozenset[Origin]:
        scope = self.scopes[value[0]]
        if scope.function and value in self.formals:
            return frozenset({(scope.function, self.formals[value])})
        if scope.parent is None or value in self.produced or value in self.formals:
            return frozenset()
        return self._origins((scope.parent, value[1]), hops + 1)

"""From a graph to steps: operators built, constants folded, values numbered, dead ones freed.

Values live in numbered slots. Shapes and what is computed from them stay on the CPU, wherever the weights are, so that
an accelerator never has to be waited for; constants are at hand on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from onnxfp.embed.graph import Graph, Node
from onnxfp.embed.torch_graph.catalogue import operator_of
from onnxfp.embed.torch_graph.operator import Call, Operation, Operator, Unsupported
from onnxfp.embed.torch_graph.order import sorted_nodes, trainable
from onnxfp.errors import UsageError

_NOTHING, _UNUSED = 0, 1  # slots: an input that is not given, an output that nobody wants
_WIDER = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64, "float16": np.float32}


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One node, ready to run."""

    run: Operation
    takes: tuple[int, ...]
    numbers: tuple[int, ...]
    """Positions of inputs that are handed over as lists of numbers."""
    moves: tuple[int, ...]
    """Positions of inputs that are computed on the CPU and wanted beside the weights."""
    gives: tuple[int, ...]
    frees: tuple[int, ...] = ()
    """Slots that nobody reads afterwards."""


@final
@dataclass(frozen=True)
class Plan:
    """Everything that has to be known to run a graph."""

    steps: tuple[Step, ...]
    size: int
    """Number of slots."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    weights: dict[str, int]
    """Slots of the tensors that can be trained."""
    buffers: dict[int, Tensor]
    """Constants beside the weights."""
    ready: dict[int, Any]
    """Constants on the CPU, and lists of numbers."""


def planned(graph: Graph) -> Plan:
    """Build every node of a graph.

    Raises:
        UsageError: some operators cannot be interpreted; all of them are named.
    """
    nodes = sorted_nodes(graph)
    planner = _Planner(graph, trainable(graph, nodes))
    for node in nodes:
        planner.add(node)
    if planner.problems:
        raise UsageError(
            f"expected operators that can be trained, found {_summary(planner.problems)}; "
            "use a scheme that needs no training, or export the model with standard operators"
        )
    return planner.plan()


def _summary(problems: dict[str, list[str]]) -> str:
    parts = []
    for what, where in problems.items():
        more = f" and {len(where) - 1} more" if len(where) > 1 else ""
        parts.append(f"{what} ({where[0]!r}{more})")
    return ", ".join(parts)


def as_tensor(values: npt.NDArray[Any]) -> Tensor:
    """Return a tensor on the same memory where torch has the element type, else on a wider copy."""
    values = np.ascontiguousarray(values).reshape(values.shape)
    values = values.astype(_WIDER.get(values.dtype.name, values.dtype), copy=not values.flags.writeable)
    return torch.from_numpy(values)


@final
@dataclass
class _Planner:
    graph: Graph
    names: tuple[str, ...]
    """Tensors that can be trained."""
    problems: dict[str, list[str]] = field(default_factory=dict)
    """Operator that cannot be interpreted -> nodes."""

    def __post_init__(self) -> None:
        graph, names = self.graph, frozenset(self.names)
        self._trained = names
        self._known = {name: as_tensor(values) for name, values in graph.tensors.items() if name not in names}
        self._slots: dict[tuple[str, str], int] = {("", ""): _NOTHING, ("", "unused"): _UNUSED}
        self._beside = {*names, *graph.inputs}  # values that are where the weights are
        self._wanted = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
        self._steps: list[Step] = []
        self._quantized: set[str] = set()

    def add(self, node: Node) -> None:
        """Build one node, all of whose inputs have been added."""
        operator = operator_of(node.domain, node.operator)
        where = node.name or next((name for name in node.outputs if name), "")
        if operator is None:
            self._refuse(f"{node.operator} of {node.domain}" if node.domain else node.operator, where, node)
            return
        try:
            run = operator.build(Call(node, self.graph.opset, self._known, self._quantized))
        except Unsupported as reason:
            self._refuse(f"{node.operator} with {reason}", where, node)
            return
        if node.operator == "QuantizeLinear" or (operator.view and node.inputs[0] in self._quantized):
            self._quantized.update(node.outputs)
        if all(not name or name in self._known for name in node.inputs):
            self._fold(node, operator, run)
        else:
            self._steps.append(self._step(node, operator, run))

    def plan(self) -> Plan:
        """Return the plan of all nodes that were added."""
        outputs = tuple(self._held(name) for name in self.graph.outputs)
        slots = self._slots.items()
        return Plan(
            steps=tuple(_freed(self._steps, set(outputs), {at for (kind, _), at in slots if kind == "value"})),
            inputs=tuple(self._slot("value", name) for name in self.graph.inputs),
            outputs=outputs,
            weights={name: self._slot("weight", name) for name in self.names},
            buffers={at: self._known[name] for (kind, name), at in slots if kind == "buffer"},
            ready={
                at: self._known[name] if kind == "host" else self._known[name].reshape(-1).tolist()
                for (kind, name), at in slots
                if kind in ("host", "numbers")
            },
            size=len(self._slots),
        )

    def _refuse(self, what: str, where: str, node: Node) -> None:
        self.problems.setdefault(what, []).append(where)
        self._beside.update(node.outputs)

    def _fold(self, node: Node, operator: Operator, run: Operation) -> None:
        values = [
            None if not name else self._known[name].reshape(-1).tolist() if at in operator.host else self._known[name]
            for at, name in enumerate(node.inputs)
        ]
        with torch.no_grad():
            found = run(*values)
        for name, value in zip(node.outputs, found if isinstance(found, tuple) else (found,), strict=False):
            self._known[name] = value

    def _step(self, node: Node, operator: Operator, run: Operation) -> Step:
        tensors = [(at, name) for at, name in enumerate(node.inputs) if name and at not in operator.host]
        beside = not operator.measures and any(name in self._beside for _, name in tensors)
        computed = [at for at, name in enumerate(node.inputs) if name and name not in self._known]
        if beside:
            self._beside.update(node.outputs)
        return Step(
            run,
            tuple(self._taken(name, beside, at in operator.host) for at, name in enumerate(node.inputs)),
            tuple(at for at in computed if at in operator.host),
            tuple(at for at, name in tensors if beside and at in computed and name not in self._beside),
            tuple(self._slot("value", name) if name in self._wanted else _UNUSED for name in node.outputs),
        )

    def _taken(self, name: str, beside: bool, numbers: bool) -> int:
        """The slot of an input: of a list of numbers, or of a tensor beside the weights or on the CPU."""
        if not name:
            return _NOTHING
        if name in self._known and not numbers and not beside:
            return self._slot("host", name)
        return self._slot("numbers", name) if numbers and name in self._known else self._held(name)

    def _held(self, name: str) -> int:
        kind = "buffer" if name in self._known else "weight" if name in self._trained else "value"
        return self._slot(kind, name)

    def _slot(self, kind: str, name: str) -> int:
        return self._slots.setdefault((kind, name), len(self._slots))


def _freed(steps: Sequence[Step], kept: set[int], values: set[int]) -> Iterator[Step]:
    """Let each step free the values that it is the last to read."""
    last = {slot: at for at, step in enumerate(steps) for slot in step.takes}
    for at, step in enumerate(steps):
        frees = {slot for slot in step.takes if slot in values and slot not in kept and last[slot] == at}
        yield replace(step, frees=tuple(sorted(frees)))

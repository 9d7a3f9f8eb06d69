"""From a head's output forward to everything that depends on the classes, until they are answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, final

from onnxfp.artifact.classes import Classes, declared
from onnxfp.artifact.flow import STANDARD, Flow, called, refuse
from onnxfp.artifact.head import Head
from onnxfp.artifact.parameter import Parameter, is_constant, parameter
from onnxfp.artifact.passages import PASSAGES
from onnxfp.artifact.records import NodeRecord
from onnxfp.artifact.wire import shown

_INDEX_VIEWS = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_ELEMENTWISE = frozenset({"Add", "Cast", "Dropout", "Identity", "LogSoftmax", "Relu", "Softmax"})
_MAX_HOPS = 16  # elementwise operators up to a declared rank


@dataclass(frozen=True)
class Term:
    """A constant that an Add puts upon the logits."""

    place: int
    slot: int
    constant: Parameter | None
    """None: the same for every class."""


@final
@dataclass(frozen=True)
class Followed:
    """Everything that a change of the number of classes reaches."""

    values: Mapping[str, Classes]
    """Values with an axis of classes."""
    shapes: tuple[tuple[int, int, int], ...]
    """Constants that name the number: (place of the node, slot, entry)."""
    terms: tuple[Term, ...]
    nodes: tuple[int, ...]
    """Places of the nodes that pass the classes on."""


def follow(flow: Flow, head: Head) -> Followed:
    """Go through every node that a head's output reaches.

    Raises:
        UsageError: one of them depends on the number of classes in a way that is not understood.
    """
    follower = _Follower(flow, head.classes, head.place)
    first = Classes(head.classes, head.after, None if head.rank is None else _unknown(head), head.weight.dtype)
    follower.add(head.output, _with_rank(flow, head.output, first))
    for place in range(head.place + 1, len(flow.nodes)):
        follower.node(place)
    follower.finish()
    return Followed(follower.values, tuple(follower.shapes), tuple(follower.terms), tuple(follower.nodes))


def _unknown(head: Head) -> tuple[int | None, ...]:
    rank = head.rank or 0
    return tuple(head.classes if axis == rank - 1 - head.after else None for axis in range(rank))


def _with_rank(flow: Flow, name: str, found: Classes) -> Classes:
    """Give a value the rank that is declared of it, or behind elementwise operators."""
    for _ in range(_MAX_HOPS):
        if found.shape is not None:
            break
        if name in flow.shapes:
            return declared(flow, name, found)
        name = next((n.outputs[0] for n in flow.nodes if name in n.inputs and n.op_type in _ELEMENTWISE), "")
    return found


@final
@dataclass
class _Follower:
    """Collects while it goes through the nodes in their order."""

    flow: Flow
    classes: int
    last: int
    values: dict[str, Classes] = field(default_factory=dict)
    indices: set[str] = field(default_factory=set)
    """Values that number a class, or are its score: their shape does not change."""
    sizes: set[str] = field(default_factory=set)
    """Shapes of values with classes."""
    shapes: list[tuple[int, int, int]] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)
    """How often a value was taken by the nodes passed."""

    def add(self, name: str, found: Classes) -> None:
        """Note a value with classes."""
        if name in self.flow.inner:
            refuse("classes that stay in the main graph", f"'{shown(name)}' used by a graph inside a node")
        self.values[name] = declared(self.flow, name, found)

    def node(self, place: int) -> None:
        """Pass one node, if it takes anything that depends on the classes."""
        node = self.flow.nodes[place]
        for name in node.inputs:
            self.taken[name] = self.taken.get(name, 0) + 1
        slots = [slot for slot, name in enumerate(node.inputs) if name in self.values]
        if slots:
            if node.domain not in STANDARD or len(slots) > 1:
                self._refuse(node)
            self._pass(place, node, slots[0])
        elif any(name in self.sizes for name in node.inputs):
            self._size(node)
        elif any(name in self.indices for name in node.inputs):
            if node.domain not in STANDARD or node.op_type not in _INDEX_VIEWS or node.inputs[0] not in self.indices:
                self._refuse(node)
            self.indices.update(node.outputs)

    def finish(self) -> None:
        """Refuse nodes out of order, maps of spatial answers and shapes as outputs."""
        outputs = self.flow.artifact.graph.outputs
        for name in (*self.values, *self.indices, *self.sizes):
            if self.flow.uses[name] != self.taken.get(name, 0) + outputs.count(name):
                refuse("nodes in the order in which they run", f"'{shown(name)}' used before it is made")
        for name in outputs:
            if name in self.sizes or (name in self.values and not self.values[name].one_answer):
                refuse("one answer for each example", f"a map or a shape of classes as the output '{shown(name)}'")

    def _pass(self, place: int, node: NodeRecord, slot: int) -> None:
        found = self.values[node.inputs[slot]]
        if node.op_type == "Add":
            self._term(place, node, 1 - slot, found)
            self.add(node.outputs[0], found)
        elif node.op_type in ("ArgMax", "TopK") and slot == 0:
            self._choose(node, found)
        elif node.op_type == "Shape":
            self.sizes.add(node.outputs[0])
        elif node.op_type in PASSAGES and slot == 0 and not any(self.flow.uses[name] for name in node.outputs[1:]):
            after = PASSAGES[node.op_type](self.flow, node, found)
            self.add(node.outputs[0], after)
            self._named_number(place, node, self.values[node.outputs[0]])
        else:
            self._refuse(node)
        self.nodes.append(place)

    def _term(self, place: int, node: NodeRecord, slot: int, found: Classes) -> None:
        name = node.inputs[slot]
        if not is_constant(self.flow, name) or found.answered:
            self._refuse(node)
        seen = self.flow.tensors.get(name)
        if seen is not None and (len(seen.shape) <= found.after or seen.shape[-1 - found.after] == 1):
            self.terms.append(Term(place, slot, None))
            return
        constant = parameter(self.flow, name, -1 - found.after, None)
        widest = len(constant.record.shape) if found.shape is None else len(found.shape)
        if constant.classes != found.count or len(constant.record.shape) > widest:
            self._refuse(node)
        self.terms.append(Term(place, slot, constant))

    def _choose(self, node: NodeRecord, found: Classes) -> None:
        axis = found.at(self.flow.integer(node, "axis", 0 if node.op_type == "ArgMax" else -1), node)
        if axis != found.axis or not self.flow.integer(node, "largest", 1) or not found.one_answer:
            self._refuse(node)
        self.indices.update(node.outputs)

    def _size(self, node: NodeRecord) -> None:
        """Let a batch be measured: one entry of a shape that is not the classes."""
        at = self.flow.constant(node.inputs[1]) if node.op_type == "Gather" and len(node.inputs) == 2 else None
        measured = next(n for n in self.flow.nodes if node.inputs[0] in n.outputs) if at else node
        found = self.values.get(measured.inputs[0]) if at else None
        if not at or found is None or found.shape is None or any(i % len(found.shape) == found.axis for i in at):
            self._refuse(node)

    def _named_number(self, place: int, node: NodeRecord, found: Classes) -> None:
        """Note a shape that says how many classes there are."""
        if node.op_type not in ("Reshape", "Expand"):
            return
        target = self.flow.constant(node.inputs[1])
        entry = len(target or ()) - 1 - found.after
        if target is None:
            self._only_measured(node, found)
        elif entry >= 0 and target[entry] == found.count:
            self.shapes.append((place, 1, entry))

    def _only_measured(self, node: NodeRecord, found: Classes) -> None:
        """Refuse a computed shape that names the number of classes."""
        at = self.flow.producers.get(node.inputs[1])
        parts = self.flow.nodes[at].inputs if at is not None else ()
        if found.count in self._numbers(parts) or not parts:
            self._refuse(node)

    def _numbers(self, names: tuple[str, ...]) -> Iterator[int]:
        for name in names:
            yield from self.flow.constant(name) or ()

    def _refuse(self, node: NodeRecord) -> NoReturn:
        refuse("classes that only softmax, pools, views and ArgMax follow", f"{called(node)} after the head")

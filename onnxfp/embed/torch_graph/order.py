"""Which nodes have to run, in which order, and which constants can be trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.embed.graph import Graph, Node
from onnxfp.embed.torch_graph.catalogue import operator_of
from onnxfp.errors import UsageError

_LARGEST = 1e4  # weights are smaller; masks of attention are not


def sorted_nodes(graph: Graph) -> tuple[Node, ...]:
    """Return the nodes that the outputs need, each after those that it needs.

    Raises:
        UsageError: a value is missing or depends on itself.
    """
    makers = {output: node for node in graph.nodes for output in node.outputs if output}
    given = {*graph.inputs, *graph.tensors, ""}
    done: dict[int, Node] = {}
    started: set[int] = set()
    pending = [(name, False) for name in reversed(graph.outputs)]
    while pending:
        name, ready = pending.pop()
        node = makers.get(name)
        if node is None:
            if name not in given:
                raise UsageError(f"expected a value {name!r}, found no node that computes it; export the model again")
        elif ready:
            done[id(node)] = node
        elif id(node) not in started:
            started.add(id(node))
            pending.append((name, True))
            pending.extend((needed, False) for needed in reversed(node.inputs))
    _refuse_cycles(done.values(), given)
    return tuple(done.values())


def _refuse_cycles(nodes: Iterable[Node], given: set[str]) -> None:
    known = set(given)
    for node in nodes:
        missing = [name for name in node.inputs if name not in known]
        if missing:
            raise UsageError(f"expected a graph without cycles, found one through {missing[0]!r}; export it again")
        known.update(node.outputs)


def trainable(graph: Graph, nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return the tensors that training may change: several finite real numbers that enter arithmetic.

    Whatever reaches the running statistics of a normalisation, also through views, stays as it is.
    """
    uses: dict[str, set[str]] = {name: {"computed"} for name in graph.outputs}
    for node in reversed(nodes):
        for name, found in _uses(node, uses):
            uses.setdefault(name, set()).update(found)
    return tuple(
        name for name, values in graph.tensors.items() if uses.get(name) == {"computed"} and _could_be_weights(values)
    )


def _uses(node: Node, uses: Mapping[str, set[str]]) -> Iterable[tuple[str, set[str]]]:
    operator = operator_of(node.domain, node.operator)
    if operator is None or operator.measures:
        return
    onwards: set[str] = set().union(*(uses.get(output, set()) for output in node.outputs))
    for position, name in enumerate(node.inputs):
        if position not in operator.host:
            yield name, {"frozen"} if position in operator.frozen else onwards if operator.view else {"computed"}


def _could_be_weights(values: npt.NDArray[Any]) -> bool:
    if values.dtype.kind != "f" or values.size < 2:
        return False
    largest = np.max(np.abs(values))
    return bool(np.isfinite(largest) and largest < _LARGEST)

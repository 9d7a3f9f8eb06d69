"""Half precision: float32 carriers are stored as FLOAT16, each with a Cast back, so that any float32 graph still runs.

This step changes the file's structure, so the model is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from onnxfp.artifact import open_artifact
from onnxfp.attacks.carrierwise import float_carriers
from onnxfp.attacks.interface import Step
from onnxfp.attacks.restructure import graphs, names_of, restructure
from onnxfp.errors import UsageError

if TYPE_CHECKING:
    import onnx

_LARGEST = 65504.0  # of FLOAT16


@final
@dataclass(frozen=True)
class Half(Step):
    """Store float32 carriers as FLOAT16."""

    @property
    def sources(self) -> tuple[int, int | None]:
        """One artifact."""
        return 1, 1

    def write(self, sources: Sequence[Path], destination: Path, rng: np.random.Generator, *, force: bool) -> None:
        """Convert in memory."""
        del rng
        names = _single_precision(Path(sources[0]))
        restructure(Path(sources[0]), Path(destination), lambda model: to_half(model, names), force=force)


def to_half(model: onnx.ModelProto, names: frozenset[str]) -> None:
    """Convert the named float32 initializers and constants of every graph and function of a model, in place."""
    conversion = _Conversion(names, names_of(model))
    for graph in reversed(list(graphs(model))):  # inner graphs first: converting one makes new nodes of its own
        conversion.graph(graph)


@final
@dataclass(frozen=True)
class _Conversion:
    """Which values to convert, and which names are no longer free."""

    names: frozenset[str]
    taken: set[str] = field(default_factory=set)

    def graph(self, graph: Any) -> None:
        """Convert one graph or function, not its subgraphs."""
        nodes = [self._stored(graph, tensor) for tensor in getattr(graph, "initializer", ()) if self._wanted(tensor)]
        for node in graph.node:
            nodes.append(node)
            nodes.extend(self._constant(node))
        if len(nodes) > len(graph.node):
            fresh = [type(node).FromString(node.SerializeToString()) for node in nodes]
            del graph.node[:]
            graph.node.extend(fresh)

    def _wanted(self, tensor: Any, name: str | None = None) -> bool:
        import onnx

        return tensor.data_type == onnx.TensorProto.FLOAT and (name or tensor.name) in self.names

    def _stored(self, graph: Any, tensor: Any) -> Any:
        name = tensor.name
        stored = self._free(name)
        _convert(tensor, stored)
        for declared in graph.input:  # files before IR version 4 list initializers as inputs too
            if declared.name == name:
                declared.name = stored
                declared.type.tensor_type.elem_type = tensor.data_type
        return _cast(stored, name)

    def _constant(self, node: Any) -> Iterator[Any]:
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            return
        for attribute in node.attribute:
            if attribute.name == "value" and self._wanted(attribute.t, node.output[0]):
                name = node.output[0]
                node.output[0] = self._free(name)
                _convert(attribute.t, attribute.t.name)
                yield _cast(node.output[0], name)

    def _free(self, name: str) -> str:
        free = f"{name}_fp16"
        while free in self.taken:
            free += "_"
        self.taken.add(free)
        return free


def _single_precision(source: Path) -> frozenset[str]:
    """Return the value names of float32 carriers."""
    with open_artifact(source) as artifact:
        names = frozenset(record.value for record in float_carriers(artifact) if record.dtype == "float")
        if not names:
            raise UsageError(
                f"{artifact.label}: expected float32 carriers, found none; it is in half precision already"
            )
        return names


def _convert(tensor: Any, name: str) -> None:
    import onnx

    weights = onnx.numpy_helper.to_array(tensor)
    half = np.clip(weights, -_LARGEST, _LARGEST).astype(np.float16)
    tensor.CopyFrom(onnx.numpy_helper.from_array(half, name))


def _cast(stored: str, name: str) -> Any:
    import onnx

    return onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT)

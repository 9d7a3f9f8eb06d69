"""Half precision: float32 carriers are stored as FLOAT16, each with a Cast back, so that any float32 graph still runs.

This step changes the file's structure, so it goes through the onnx package and holds the model in memory. External data
come out in one file beside the model.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from onnxfp.artifact import open_artifact, shown
from onnxfp.artifact.staging import StagedFile, check_target
from onnxfp.attacks.carrierwise import float_carriers
from onnxfp.attacks.interface import Step
from onnxfp.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    import onnx

_LARGEST = 65504.0  # of FLOAT16
_INLINE = 1024  # bytes; smaller tensors stay in the model file
_MAX_MESSAGE = (1 << 31) - 1  # bytes of one protobuf message


@final
@dataclass(frozen=True)
class Half(Step):
    """Store float32 carriers as FLOAT16."""

    @property
    def sources(self) -> tuple[int, int | None]:
        """One artifact."""
        return 1, 1

    def write(self, sources: Sequence[Path], destination: Path, rng: np.random.Generator, *, force: bool) -> None:
        """Convert in memory, then write the model file last."""
        del rng
        source, destination = Path(sources[0]), Path(destination)
        names, read = _single_precision(source)
        beside = destination.with_name(f"{destination.name}.data")
        _refuse_replacing(read, (destination, beside))
        model = _load(source)
        to_half(model, names)
        mode = source.stat().st_mode & 0o777
        data = _moved_out(model, beside.name) if len(read) > 1 else b""
        if model.ByteSize() > _MAX_MESSAGE:
            raise UsageError(f"{shown(str(source))}: expected at most 2 GiB without external data; export it with them")
        files = [(beside, data)] if data else []
        _publish([*files, (destination, model.SerializeToString())], mode, force=force)


def to_half(model: onnx.ModelProto, names: frozenset[str]) -> None:
    """Convert the named float32 initializers and constants of every graph and function of a model, in place."""
    taken = {name for graph in _graphs(model) for node in graph.node for name in (*node.input, *node.output)}
    conversion = _Conversion(names, taken)
    for graph in reversed(list(_graphs(model))):  # inner graphs first: converting one makes new nodes of its own
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


def _single_precision(source: Path) -> tuple[frozenset[str], list[Path]]:
    """Return the value names of float32 carriers, and all files that the artifact lies in."""
    with open_artifact(source) as artifact:
        names = frozenset(record.value for record in float_carriers(artifact) if record.dtype == "float")
        if not names:
            raise UsageError(
                f"{artifact.label}: expected float32 carriers, found none; it is in half precision already"
            )
        return names, [source, *(source.parent / name for name in artifact.external_files)]


def _refuse_replacing(read: Sequence[Path], written: Sequence[Path]) -> None:
    for target in written:
        if target.exists() and any(os.path.samefile(target, source) for source in read):
            raise UsageError(
                f"{shown(str(target))}: expected another file than the source's, found the same; give a new name"
            )


def _load(source: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load(str(source))
    except (DecodeError, onnx.checker.ValidationError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(
            f"{shown(str(source))}: expected a model that onnx can load, found: {shown(reason)}"
        ) from None


def _graphs(model: onnx.ModelProto) -> Iterator[Any]:
    """Yield the main graph, local functions, and every graph inside their nodes."""
    pending: list[Any] = [model.graph, *model.functions]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                pending.extend((*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ())))


def _convert(tensor: Any, name: str) -> None:
    import onnx

    weights = onnx.numpy_helper.to_array(tensor)
    half = np.clip(weights, -_LARGEST, _LARGEST).astype(np.float16)
    tensor.CopyFrom(onnx.numpy_helper.from_array(half, name))


def _cast(stored: str, name: str) -> Any:
    import onnx

    return onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT)


def _moved_out(model: onnx.ModelProto, location: str) -> bytes:
    """Take large initializers out of the model, to lie at `location`; return their bytes.

    Those of subgraphs stay: onnxruntime reads external data of the main graph only.
    """
    import onnx

    data = bytearray()
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= _INLINE:
            offset, length = len(data), len(tensor.raw_data)
            data += tensor.raw_data
            onnx.external_data_helper.set_external_data(tensor, location, offset, length)
            tensor.ClearField("raw_data")
    return bytes(data)


def _publish(files: Sequence[tuple[Path, bytes]], mode: int, *, force: bool) -> None:
    """Write all files under temporary names, then give them theirs, the model file last."""
    staged = []
    published: list[Path] = []
    try:
        for target, data in files:
            check_target(target, force=force)
            staged.append(StagedFile(target, len(data), mode))
            staged[-1].create()
            staged[-1].write(0, memoryview(data))
            staged[-1].finish()
        for file in staged:
            file.publish(force=force)
            published.append(file.target)
    except BaseException:
        for target in published if not force else ():
            target.unlink(missing_ok=True)
        raise
    finally:
        for file in staged:
            file.discard()

"""Changing the structure of an artifact: through the onnx package, the whole model in memory.

External data come out in one file beside the model; the model file gets its name last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfp.artifact import open_artifact, shown
from onnxfp.artifact.staging import StagedFile, check_target
from onnxfp.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    import onnx

_INLINE = 1024  # bytes; smaller tensors stay in the model file
_MAX_MESSAGE = (1 << 31) - 1  # bytes of one protobuf message


def restructure(source: Path, destination: Path, change: Callable[[onnx.ModelProto], None], *, force: bool) -> None:
    """Write the source with `change` applied to it in memory.

    Args:
        source: the artifact, which stays as it is.
        destination: the file to write.
        change: changes a loaded model in place.
        force: replace what exists at the destination.

    Raises:
        UsageError: the destination cannot be taken, or the model is too large to be written; or `change` refuses it.
        ArtifactError: the source is damaged.
    """
    with open_artifact(source) as artifact:
        read = [source, *(source.parent / name for name in artifact.external_files)]
    beside = destination.with_name(f"{destination.name}.data")
    _refuse_replacing(read, (destination, beside))
    model = _load(source)
    try:
        change(model)
    except UnicodeDecodeError:
        raise ArtifactError(
            f"{shown(str(source))}: expected names in UTF-8, found other bytes; export it anew"
        ) from None
    data = _moved_out(model, beside.name) if len(read) > 1 else b""
    if model.ByteSize() > _MAX_MESSAGE:
        raise UsageError(f"{shown(str(source))}: expected at most 2 GiB without external data; export it with them")
    files = [(beside, data)] if data else []
    _publish([*files, (destination, model.SerializeToString())], source.stat().st_mode & 0o777, force=force)


def graphs(model: onnx.ModelProto) -> Iterator[Any]:
    """Yield the main graph, local functions, and every graph inside their nodes."""
    yield from within(model.graph, *model.functions)


def within(*roots: Any) -> Iterator[Any]:
    """Yield graphs or functions, and every graph inside their nodes."""
    pending = [*roots]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                pending.extend((*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ())))


def names_of(model: onnx.ModelProto) -> set[str]:
    """Return the names that values bear anywhere in a model: they are no longer free."""
    names = {name for graph in graphs(model) for node in graph.node for name in (*node.input, *node.output)}
    return names | {value.name for value in (*model.graph.input, *model.graph.initializer, *model.graph.output)}


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

"""A model file with some messages of its main graph replaced: every other field is copied byte for byte.

The new file is first written where no name leads to it, and read back as any hostile file is; what the reader accepts
is then published as every other copy is, with its external data.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, final

from onnxfp.artifact.class_names import with_one_more
from onnxfp.artifact.external import ExternalFiles, Identity
from onnxfp.artifact.flow import Shape
from onnxfp.artifact.graph import ModelReader, split
from onnxfp.artifact.messages import (
    NewTensor,
    constant_with,
    entry,
    node_with,
    opening,
    resized,
    tensor_message,
    value_message,
)
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.records import NodeRecord
from onnxfp.artifact.staging import unwritable
from onnxfp.artifact.wire import DELIMITED, Window, fields, read_exactly, shown
from onnxfp.artifact.writer import copy_artifact
from onnxfp.errors import ArtifactError, UsageError

MAX_MESSAGE = (1 << 31) - 1  # bytes of one protobuf message
_MODEL_GRAPH, _MODEL_METADATA = 7, 14
NODE, _INITIALIZER, _INPUT, OUTPUT, _VALUE = 1, 5, 11, 12, 13
_STEP = 1 << 22
_IR_OF_FREE_INITIALIZERS = 4  # older files list every initializer among the inputs too
Piece = bytes | tuple[int, int]
"""New bytes, or a range of the source."""


@final
@dataclass(frozen=True)
class Change:
    """What is replaced in the main graph, and what is added to it."""

    tensors: dict[str, NewTensor] = field(default_factory=dict)
    """Tensors under their old names."""
    added: list[NewTensor] = field(default_factory=list)
    inputs: dict[tuple[int, int], str] = field(default_factory=dict)
    """(place of a node, slot) -> the value that it takes instead."""
    outputs: dict[int, str] = field(default_factory=dict)
    """Place of a node -> what its first output is called instead."""
    behind: dict[int, bytes] = field(default_factory=dict)
    """Place of a node -> nodes that come right after it, as fields of the graph."""
    shapes: dict[str, Shape] = field(default_factory=dict)
    """Value -> extents to be declared of it, where any are."""
    first_output: bytes | None = None
    """The field that declares the graph's first output instead."""
    classes: int | None = None
    """How many names of classes metadata hold that get one more."""
    names: set[str] = field(default_factory=set)
    """Names that are taken."""

    def free(self, name: str) -> str:
        """Return a name that nothing has, and take it."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name


def write_changed(artifact: Artifact, change: Change, destination: Path, *, force: bool) -> None:
    """Write a copy of a model with a change made to it.

    Raises:
        UsageError: the destination cannot be taken, or the model would be larger than a message can be.
        ArtifactError: the source changed meanwhile, or what was made of it cannot be read.
    """
    destination = Path(destination)
    if destination.exists() and os.path.samestat(destination.stat(), os.fstat(artifact.fd)):
        raise UsageError(
            f"{shown(str(destination))}: expected another file than the source, found the same; give a new name"
        )
    pieces = _model(artifact, change)
    size = sum(map(_length, pieces))
    if size > MAX_MESSAGE:
        raise UsageError(
            f"{artifact.label}: expected a model file of at most {MAX_MESSAGE} bytes, found that it would have {size}; "
            "export it with external data"
        )
    with _nameless(destination) as file:
        _fill(artifact, pieces, file, destination)
        with _opened(artifact, file) as copy:
            copy_artifact(copy, destination, force=force)


# --- the new file -----------------------------------------------------------------------------------------------------


def _model(artifact: Artifact, change: Change) -> list[Piece]:
    window = Window(artifact.fd, artifact.identity.size, artifact.label)
    pieces: list[Piece] = []
    start = 0
    for number, _, _, begin, end in fields(window, 0, window.size):
        if number == _MODEL_GRAPH:
            graph = _graph(artifact, window, (begin, end), change)
            pieces.extend((opening(_MODEL_GRAPH, sum(map(_length, graph))), *graph))
        elif number == _MODEL_METADATA and change.classes is not None:
            pieces.append(entry(number, with_one_more(window, (begin, end), change.classes)))
        else:
            _keep(pieces, start, end)
        start = end
    return pieces


def _graph(artifact: Artifact, window: Window, span: tuple[int, int], change: Change) -> list[Piece]:
    nodes = iter(enumerate(node for node in artifact.graph.nodes if not node.scope))
    outputs = iter([change.first_output])
    pieces: list[Piece] = []
    start = span[0]
    for number, _, _, begin, end in fields(window, *span):
        made: bytes | None = None
        if number == NODE:
            made = _node(window, *next(nodes), change)
        elif number == _INITIALIZER:
            made = _initializer(window, (begin, end), change)
        elif number in (_INPUT, OUTPUT, _VALUE):
            made = (next(outputs, None) if number == OUTPUT else None) or _value(window, number, (begin, end), change)
        if made is None:
            _keep(pieces, start, end)
        else:
            pieces.append(made)
        start = end
    pieces.extend(entry(_INITIALIZER, tensor_message(tensor)) for tensor in change.added)
    if artifact.graph.ir_version < _IR_OF_FREE_INITIALIZERS:
        pieces.extend(entry(_INPUT, value_message(tensor)) for tensor in change.added)
    return pieces


def _node(window: Window, place: int, node: NodeRecord, change: Change) -> bytes | None:
    inputs = list(node.inputs)
    for (at, slot), name in change.inputs.items():
        if at == place:
            inputs.extend("" for _ in range(slot + 1 - len(inputs)))
            inputs[slot] = name
    outputs = (change.outputs.get(place, node.outputs[0]), *node.outputs[1:]) if node.outputs else ()
    behind = change.behind.get(place, b"")
    span = (node.begin, node.end)
    if node.op_type == "Constant" and node.outputs[:1] and node.outputs[0] in change.tensors:
        return entry(NODE, constant_with(window, span, change.tensors[node.outputs[0]])) + behind
    if tuple(inputs) != node.inputs or outputs != node.outputs:
        return entry(NODE, node_with(window, span, inputs, outputs)) + behind
    return entry(NODE, window.raw(*span)) + behind if behind else None


def _initializer(window: Window, span: tuple[int, int], change: Change) -> bytes | None:
    once = split(window, span, {8: DELIMITED}, (), "tensor").once
    new = change.tensors.get(window.text(*once[8][1:])) if 8 in once else None
    return None if new is None else entry(_INITIALIZER, tensor_message(new))


def _value(window: Window, number: int, span: tuple[int, int], change: Change) -> bytes | None:
    once = split(window, span, {1: DELIMITED}, (), "value").once
    shape = change.shapes.get(window.text(*once[1][1:])) if 1 in once else None
    return None if shape is None else entry(number, resized(window, span, shape))


def _keep(pieces: list[Piece], start: int, end: int) -> None:
    last = pieces[-1] if pieces else b""
    if isinstance(last, tuple) and last[1] == start:
        pieces[-1] = (last[0], end)
    else:
        pieces.append((start, end))


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]


# --- on the disk ------------------------------------------------------------------------------------------------------


def _nameless(destination: Path) -> IO[bytes]:
    """Open a file without a name in the destination's folder: whatever happens, nothing is left of it."""
    try:
        return tempfile.TemporaryFile(dir=destination.parent)
    except OSError as error:
        unwritable(destination, error)


def _fill(artifact: Artifact, pieces: list[Piece], file: IO[bytes], destination: Path) -> None:
    try:
        for piece in pieces:
            for data in _bytes(artifact, piece):
                file.write(data)
        file.flush()
        os.fchmod(file.fileno(), artifact.identity.mode)
    except OSError as error:
        unwritable(destination, error)
    if Identity.of(artifact.fd) != artifact.identity:
        raise ArtifactError(
            f"{artifact.label}: expected the model unchanged while it was copied, found it changed; "
            "read it from a place where nobody writes"
        )


def _bytes(artifact: Artifact, piece: Piece) -> Iterator[bytes]:
    if isinstance(piece, bytes):
        yield piece
        return
    for at in range(*piece, _STEP):
        yield read_exactly(artifact.fd, at, min(_STEP, piece[1] - at), artifact.label).tobytes()


@contextmanager
def _opened(artifact: Artifact, file: IO[bytes]) -> Iterator[Artifact]:
    """Open what was written as if the source had been so; external data that nothing refers to are left out."""
    source = artifact.external
    external = ExternalFiles(source.folder, source.label, allow_links=source.allow_links, staged=source.staged)
    fd = os.dup(file.fileno())
    try:
        reader = ModelReader(Window(fd, Identity.of(fd).size, artifact.label), external)
        graph = reader.read()
    except BaseException:
        os.close(fd)
        external.close()
        raise
    with Artifact(artifact.path, fd, external, graph, tuple(reader.tensors)) as copy:
        _refuse_exchanged(artifact, copy)
        yield copy


def _refuse_exchanged(artifact: Artifact, copy: Artifact) -> None:
    for location in copy.external_files:
        if copy.external.identity(location) != artifact.external.identity(location):
            raise ArtifactError(
                f"{artifact.label}: expected '{shown(location)}' unchanged since opening, found another file; "
                "read it from a place where nobody writes"
            )

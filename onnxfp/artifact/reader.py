"""An opened model: records of what is in it, and numbers read from it range by range.

Files stay open and are read with positioned reads: no memory map (a shrinking file would kill the process), no whole
file, no ModelProto. The graph is never executed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import final

from onnxfp.artifact.attributes import Attribute, node_attributes
from onnxfp.artifact.decode import decode
from onnxfp.artifact.external import ExternalFiles, Identity, open_model
from onnxfp.artifact.graph import ModelReader
from onnxfp.artifact.records import GraphRecord, NodeRecord, Packing, TensorRecord
from onnxfp.artifact.stored import canonical
from onnxfp.artifact.strings import string_bytes
from onnxfp.artifact.wire import Bytes, Window, read_exactly, shown
from onnxfp.domain import Weights
from onnxfp.errors import ArtifactError

_TIED = 4  # times that external bytes may be named, on average
_CHUNK = 1 << 20  # bytes of canonical data handed out at a time


@final
class Artifact:
    """A model file and its external data, open for reading. Made by `open_artifact`; close it or use ``with``."""

    def __init__(
        self, path: Path, fd: int, external: ExternalFiles, graph: GraphRecord, tensors: tuple[TensorRecord, ...]
    ) -> None:
        self.path = path
        self.fd = fd
        self.external = external
        self.graph = graph
        self.tensors = tensors
        self.identity = Identity.of(fd)
        self._by_name = {record.name: record for record in tensors}

    @property
    def label(self) -> str:
        """The file's path, safe to print."""
        return shown(str(self.path))

    @property
    def external_files(self) -> tuple[str, ...]:
        """Locations of external data, relative to the model's folder."""
        return self.external.locations

    @property
    def size(self) -> int:
        """Bytes of the model file and all its external files."""
        return self.identity.size + sum(self.external.identity(name).size for name in self.external_files)

    @property
    def orphan_bytes(self) -> int:
        """Bytes of external files that no tensor refers to (alignment gaps included)."""
        used = {(t.external, t.runs[0].offset, t.runs[0].stop) for t in self.tensors if t.external and t.runs}
        present = sum(self.external.identity(name).size for name in self.external_files)
        return present - sum(stop - offset for _, offset, stop in used)

    def tensor(self, name: str) -> TensorRecord:
        """Return the record of one tensor.

        Raises:
            ArtifactError: there is no such tensor.
        """
        record = self._by_name.get(name)
        if record is None:
            raise ArtifactError(f"{self.label}: expected a tensor '{shown(name)}', found none; use the model it is of")
        return record

    def read(self, record: TensorRecord, start: int = 0, stop: int | None = None) -> Weights:
        """Return elements ``[start, stop)`` in flat row-major order as float32, a new array.

        Integers become their numeric value; nothing is dequantised.

        Raises:
            ArtifactError: the values are not real numbers, or the file shrank or changed.
            ValueError: the range is not inside the tensor.
        """
        stop = record.size if stop is None else stop
        if not 0 <= start <= stop <= record.size:
            raise ValueError(f"range {start} to {stop} is not inside a tensor of {record.size} values")
        skip = start % record.type.group
        data = canonical(self, record, start - skip, stop)
        return decode(data, record.dtype, stop - start + skip, record.name)[skip:]

    def read_bytes(self, record: TensorRecord, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the canonical little-endian bytes in pieces of at most 1 MiB; strings with their lengths before them.

        `start` and `stop` count elements; `start` must be a multiple of 4. Strings all come with the first range.
        """
        if record.runs and record.runs[0].packing is Packing.STRINGS:
            yield from string_bytes(self.fd, record, self.label) if start == 0 else ()
            return
        stop = record.size if stop is None else stop
        step = max(4, 8 * _CHUNK // max(1, record.type.bits) // 4 * 4)
        for at in range(start, stop, step):
            yield canonical(self, record, at, min(at + step, stop)).tobytes()

    def bytes_of(self, record: TensorRecord, offset: int, count: int) -> Bytes:
        """Read bytes of the file in which a tensor lies."""
        if record.external is not None:
            return self.external.read(record.external, offset, count)
        return read_exactly(self.fd, offset, count, self.label)

    def attributes(self, node: NodeRecord) -> dict[str, Attribute]:
        """Read one node's scalar, list and text attributes from the file."""
        return node_attributes(Window(self.fd, self.identity.size, self.label), node)

    def close(self) -> None:
        """Close all files; nothing can be read afterwards."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self.external.close()

    def __enter__(self) -> Artifact:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_artifact(path: Path, *, allow_links: bool = False) -> Artifact:
    """Open a model file, walk it, and check that every tensor's bytes are where it says.

    Args:
        path: the ``.onnx`` file.
        allow_links: accept external data through links, as long as they end inside the model's own folder.

    Raises:
        UnsafePath: external data points somewhere that must not be read.
        ArtifactError: the file is missing, not ONNX, damaged or hostile.
    """
    path = Path(path)
    fd = open_model(path)
    external = ExternalFiles(path.absolute().parent, shown(str(path)), allow_links=allow_links)
    try:
        reader = ModelReader(Window(fd, Identity.of(fd).size, str(path)), external)
        graph = reader.read()
        tensors = _without_overlaps(reader.tensors, shown(str(path)))
        _refuse_repetition(external, tensors, shown(str(path)))
        _refuse_itself(external, Identity.of(fd), shown(str(path)))
        return Artifact(path, fd, external, graph, tensors)
    except BaseException:
        os.close(fd)
        external.close()
        raise


def _refuse_itself(external: ExternalFiles, model: Identity, label: str) -> None:
    seen = {(model.device, model.inode)}
    for location in external.locations:
        identity = external.identity(location)
        if (identity.device, identity.inode) in seen:
            raise ArtifactError(
                f"{label}: expected external data '{shown(location)}' in a file of its own, found the model itself or "
                "another location's file; export the model again"
            )
        seen.add((identity.device, identity.inode))


def _refuse_repetition(external: ExternalFiles, tensors: tuple[TensorRecord, ...], label: str) -> None:
    """A few tied tensors may name the same bytes; thousands would make a small file as costly to read as a huge one."""
    declared = sum(t.runs[0].stop - t.runs[0].offset for t in tensors if t.external is not None and t.runs)
    present = sum(external.identity(location).size for location in external.locations)
    if declared > _TIED * present:
        raise ArtifactError(
            f"{label}: expected at most {_TIED * present} bytes of external tensors, found {declared} declared over "
            f"{present} present; export the model again"
        )


def _without_overlaps(tensors: list[TensorRecord], label: str) -> tuple[TensorRecord, ...]:
    """Refuse external ranges that overlap in part; mark those that are the same."""
    spans = sorted((t.external, t.runs[0].offset, t.runs[0].stop) for t in tensors if t.external is not None and t.runs)
    shared = set()
    for before, after in pairwise(spans):
        if before == after:
            shared.add(after)
        elif before[0] == after[0] and after[1] < before[2]:
            raise ArtifactError(
                f"{label}: expected tensors apart in '{shown(before[0])}', found two that overlap at byte {after[1]}; "
                "export the model again"
            )
    if not shared:
        return tuple(tensors)
    return tuple(
        replace(t, shared=True) if t.runs and (t.external, t.runs[0].offset, t.runs[0].stop) in shared else t
        for t in tensors
    )

"""A copy of an artifact with some weights replaced: same layout, same size, every other byte the same.

The files are copied whole, by the kernel and in a thread, while the caller computes patches; the patches are written
in place; then everything is made durable and appears under its name at once, the ``.onnx`` file last.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import final

from onnxfp.artifact.destination import make_folders, replaces, targets
from onnxfp.artifact.encode import encode
from onnxfp.artifact.external import ExternalFiles, Identity, open_model
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.staging import StagedFile, unwritable
from onnxfp.artifact.wire import shown
from onnxfp.domain import Weights
from onnxfp.errors import ArtifactError, UsageError

_PENDING = 1 << 25  # bytes of patches kept while the copy is still running


@dataclass(frozen=True)
class Patch:
    """New values for the flat, row-major range that begins at `start` of one tensor."""

    name: str
    start: int
    values: Weights


@final
class StagedCopy:
    """A copy under way. Made by `staged_copy`; `patch` as often as needed, then `commit` once."""

    def __init__(
        self, artifact: Artifact, files: dict[str | None, StagedFile], made: list[Path], *, force: bool
    ) -> None:
        self._artifact = artifact
        self._files = files
        self._made = made
        self._force = force
        self._pool = ThreadPoolExecutor(1)
        self._cancel = Event()
        self._copied: Future[None] | None = None
        self._pending: list[tuple[str | None, int, bytes]] = []
        self._pending_bytes = 0

    def start(self) -> None:
        """Create the temporary files and begin to copy in a thread.

        Raises:
            UsageError: a folder cannot be written.
        """
        with _uninterrupted():  # half-way, nobody would know yet what to remove
            for location, file in self._files.items():
                make_folders(location, file.target, self._made)
                file.create()
            self._copied = self._pool.submit(self._copy)

    def patch(self, name: str, start: int, values: Weights) -> None:
        """Replace values of one tensor.

        Raises:
            UsageError: the tensor cannot be written in place, or the disk is full.
            ValueError: the range is not inside the tensor, or a value is not finite.
        """
        record = self._artifact.tensor(name)
        if not record.writable:
            raise UsageError(
                f"tensor '{shown(name)}': expected float, float16 or bfloat16 weights stored in one piece, found "
                f"{record.dtype} ({record.storage}); save the model with raw data"
            )
        if start < 0 or start + len(values) > record.size:
            raise ValueError(f"range {start} to {start + len(values)} is not inside a tensor of {record.size} values")
        data = encode(values, record.dtype)
        self._pending.append((record.external, record.runs[0].offset + start * record.type.bits // 8, data))
        self._pending_bytes += len(data)
        if self._pending_bytes > _PENDING or (self._copied and self._copied.done()):
            self._flush()

    @contextmanager
    def preview(self) -> Iterator[Artifact]:
        """Open what has been written so far, before it has its name: what is read are the bytes of the copy."""
        self._flush()
        source = self._artifact
        staged = {location: file.path for location, file in self._files.items() if location is not None}
        external = ExternalFiles(source.path.parent, source.label, allow_links=False, staged=staged)
        for location in source.external_files:
            external.add(location)
        with Artifact(source.path, open_model(self._files[None].path), external, source.graph, source.tensors) as copy:
            yield copy

    @contextmanager
    def runnable(self) -> Iterator[Path]:
        """Give what has been written so far a name of its own for a while, so that somebody can run it.

        Raises:
            UsageError: the destination's folder cannot be written.
        """
        self._flush()
        try:
            made = TemporaryDirectory(prefix=".onnxfp-", dir=self._files[None].target.parent)
        except OSError as error:
            unwritable(self._files[None].target, error)
        with made as folder:
            yield self._named(Path(folder))

    def _named(self, folder: Path) -> Path:
        """Let every file appear in a folder under the name that it will have; return the model."""
        target = self._files[None].target
        try:
            for location, file in self._files.items():
                path = folder / (target.name if location is None else location)
                path.parent.mkdir(parents=True, exist_ok=True)
                _appear(file.path, path)
        except OSError as error:
            unwritable(target, error)
        return folder / target.name

    def commit(self) -> None:
        """Make the copy durable and give it its name.

        With `force`, external data files that are the destination's own are replaced one after another before the
        model file; nothing else that exists is ever touched, and a failure half-way takes back what had appeared.

        Raises:
            UsageError: the disk is full, or a target appeared meanwhile.
            ArtifactError: the source changed while it was copied.
        """
        self._flush()
        self._refuse_changed_source()
        for file in self._files.values():
            file.finish()
        replaced = self._replaced()
        appeared: list[StagedFile] = []
        try:
            for location, file in self._files.items():
                file.publish(force=location in replaced)
                if location not in replaced:
                    appeared.append(file)
        except BaseException:
            for file in appeared:
                file.target.unlink(missing_ok=True)
            raise
        for folder in {file.target.parent for file in self._files.values()}:
            _sync_folder(folder)
        self._made.clear()

    def _replaced(self) -> set[str | None]:
        """The files that may be moved over existing ones; looked at again, as another copy may have come first."""
        destination = self._files[None].target
        found: set[str | None] = {
            location
            for location, file in self._files.items()
            if location is not None and replaces(file.target, destination, file.path, force=self._force)
        }
        return found | {None} if self._force else found

    def abandon(self) -> None:
        """Stop copying and remove every temporary file that was not published."""
        self._cancel.set()
        self._pool.shutdown(wait=True)
        for file in self._files.values():
            file.discard()
        for folder in reversed(self._made):
            folder.rmdir()

    def _copy(self) -> None:
        for location, file in self._files.items():
            artifact = self._artifact
            source = os.dup(artifact.fd) if location is None else artifact.external.duplicate(location)
            try:
                file.copy_from(source, self._cancel)
            finally:
                os.close(source)
            if not self._cancel.is_set():
                file.finish()  # the bulk reaches the disk while patches are computed

    def _flush(self) -> None:
        if self._copied is not None:
            self._copied.result()
        for location, offset, data in self._pending:
            self._files[location].write(offset, memoryview(data))
        self._pending.clear()
        self._pending_bytes = 0

    def _refuse_changed_source(self) -> None:
        artifact = self._artifact
        if Identity.of(artifact.fd) == artifact.identity and all(
            map(artifact.external.unchanged, artifact.external_files)
        ):
            return
        raise ArtifactError(
            f"{artifact.label}: expected the model unchanged while it was copied, found it changed; "
            "read it from a place where nobody writes"
        )


@contextmanager
def staged_copy(artifact: Artifact, destination: Path, *, force: bool = False) -> Iterator[StagedCopy]:
    """Begin a copy of `artifact` at `destination`; without `commit` nothing remains of it.

    External data are written beside the destination under the same relative names.

    Args:
        artifact: the open source.
        destination: the ``.onnx`` file to write; its folder must exist.
        force: replace files that exist there, though never the source's own, nor external data that another model
            there refers to.

    Raises:
        UsageError: the destination cannot be taken.
    """
    destination = Path(destination)
    files = targets(artifact, destination, force=force)
    staged = StagedCopy(artifact, files, [], force=force)
    try:
        staged.start()
        yield staged
    finally:
        staged.abandon()


def write_patched(artifact: Artifact, destination: Path, patches: Iterable[Patch], *, force: bool = False) -> None:
    """Write a copy of `artifact` with the patches applied: same layout and size, all other bytes the same.

    Raises:
        UsageError: the destination cannot be taken or written, or a tensor cannot be patched in place.
        ArtifactError: the source changed while it was copied.
    """
    with staged_copy(artifact, destination, force=force) as staged:
        for patch in patches:
            staged.patch(patch.name, patch.start, patch.values)
        staged.commit()


def copy_artifact(artifact: Artifact, destination: Path, *, force: bool = False) -> None:
    """Write an unchanged copy, with its external data.

    Raises:
        UsageError: the destination cannot be taken or written.
        ArtifactError: the source changed while it was copied.
    """
    write_patched(artifact, destination, (), force=force)


def _appear(source: Path, target: Path) -> None:
    """Give a file a second name, or a second place where the file system knows no second names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let an interrupt from the keyboard wait until the block has ended, where the system can."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

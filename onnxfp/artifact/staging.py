"""A temporary file that becomes the destination in one step, or leaves nothing behind."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import NoReturn, final

from onnxfp.artifact.wire import shown
from onnxfp.errors import ArtifactError, UsageError

_STEP = 1 << 25  # bytes copied between two looks at the cancel flag
_NO_KERNEL_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def unwritable(path: Path, error: OSError) -> NoReturn:
    """Say in one line why `path` cannot be written.

    Raises:
        UsageError: always.
    """
    raise UsageError(
        f"{shown(str(path))}: expected a place that can be written, found: {error.strerror or error}; "
        "choose another folder or make room"
    ) from None


def check_target(target: Path, *, force: bool) -> None:
    """Refuse a target whose folder is missing, or that exists without `force`, or that is no regular file.

    Raises:
        UsageError: the target cannot be taken.
    """
    try:
        facts = os.lstat(target)
    except FileNotFoundError as error:
        if not target.parent.is_dir():
            unwritable(target, error)
        return
    except (OSError, ValueError) as error:
        unwritable(target, error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error)))
    if not stat.S_ISREG(facts.st_mode):
        raise UsageError(
            f"{shown(str(target))}: expected a file name to write to, found a folder, link or device; rename it"
        )
    if not force:
        raise UsageError(f"{shown(str(target))}: expected no file there, found one; use --force to replace it")


@final
class StagedFile:
    """One temporary file beside its target."""

    def __init__(self, target: Path, size: int, mode: int) -> None:
        self.target = target
        self.size = size
        self.mode = mode
        self._temporary = ""

    @property
    def path(self) -> Path:
        """Where the bytes are until they are published."""
        return Path(self._temporary)

    def create(self) -> None:
        """Create the temporary file.

        Raises:
            UsageError: the folder is missing, read-only or full.
        """
        try:
            fd, self._temporary = tempfile.mkstemp(prefix=".onnxfp-", suffix=".part", dir=self.target.parent)
            os.close(fd)
        except OSError as error:
            unwritable(self.target, error)

    def copy_from(self, source: int, cancel: Event) -> None:
        """Copy the whole source, by the kernel where it can.

        Raises:
            UsageError: the disk is full.
            ArtifactError: the source shrank.
        """
        with self._opened() as fd:
            self._copy(source, fd, cancel)

    def _copy(self, source: int, fd: int, cancel: Event) -> None:
        done, step = 0, _kernel_copy
        while done < self.size and not cancel.is_set():
            try:
                count = step(source, fd, min(_STEP, self.size - done), done)
            except OSError as error:
                if step is _plain_copy or error.errno not in _NO_KERNEL_COPY:
                    raise
                step = _plain_copy
                continue
            if count == 0:
                raise ArtifactError(
                    f"{shown(str(self.target))}: expected {self.size} bytes to copy, found {done}: the source shrank; "
                    "read it from a place where nobody writes"
                )
            done += count

    def write(self, offset: int, data: memoryview) -> None:
        """Overwrite bytes in place.

        Raises:
            UsageError: the disk is full.
        """
        with self._opened() as fd:
            while data:
                count = os.pwrite(fd, data, offset)
                data, offset = data[count:], offset + count

    def finish(self) -> None:
        """Give the file its mode and make its bytes durable.

        Raises:
            UsageError: the disk is full.
        """
        with self._opened() as fd:
            os.fchmod(fd, self.mode)
            os.fsync(fd)

    def publish(self, *, force: bool) -> None:
        """Move the file to its target in one step; without `force`, never over a file that appeared meanwhile.

        Raises:
            UsageError: the target exists or the folder cannot be written.
        """
        try:
            if force or not _linked(self._temporary, self.target):
                os.replace(self._temporary, self.target)
                self._temporary = ""
        except OSError as error:
            unwritable(self.target, error)

    def discard(self) -> None:
        """Remove the file, if it was not published."""
        if self._temporary:
            os.unlink(self._temporary)
            self._temporary = ""

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """A descriptor for one step: a model may have more external files than a process may keep open."""
        try:
            fd = os.open(self._temporary, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
        except OSError as error:
            unwritable(self.target, error)


def _kernel_copy(source: int, target: int, count: int, offset: int) -> int:
    return os.copy_file_range(source, target, count, offset, offset)


def _plain_copy(source: int, target: int, count: int, offset: int) -> int:
    data = os.pread(source, min(count, 1 << 20), offset)
    return os.pwrite(target, data, offset) if data else 0


def _linked(temporary: str, target: Path) -> bool:
    """Give the file its second name, which fails if that is taken; False where the file system has no hard links."""
    try:
        os.link(temporary, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        check_target(target, force=False)
        return False
    return True


def write_whole(target: Path, data: bytes, *, force: bool, mode: int = 0o600) -> None:
    """Write a small file that appears whole or not at all.

    Raises:
        UsageError: the target exists, or cannot be written.
    """
    check_target(target, force=force)
    staged = StagedFile(target, len(data), mode)
    try:
        staged.create()
        staged.write(0, memoryview(data))
        staged.finish()
        staged.publish(force=force)
    finally:
        staged.discard()

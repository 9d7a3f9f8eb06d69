"""Opening files that a hostile model names: inside its own folder, regular, one link, no symbolic link on the way.

Every component is opened relative to the folder above it without following links, so that a link swapped in between
looking and opening is an error and not a way out.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from onnxfp.artifact.wire import Bytes, read_exactly, shown
from onnxfp.errors import ArtifactError, UnsafePath

_OPEN_FILES = 64  # descriptors kept for external files; older exporters write one file per tensor
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Identity:
    """What must stay the same while a file is being read."""

    device: int
    inode: int
    size: int
    modified: int
    mode: int

    @classmethod
    def of(cls, fd: int) -> Identity:
        """Take it from an open descriptor."""
        facts = os.fstat(fd)
        return cls(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, stat.S_IMODE(facts.st_mode))


def open_model(path: Path) -> int:
    """Open the model file itself; the caller chose the path, so links are followed.

    Raises:
        ArtifactError: it is missing, unreadable or not a regular file.
    """
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ArtifactError(
            f"{shown(str(path))}: expected a readable ONNX file, found: {reason}; check the path"
        ) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ArtifactError(f"{shown(str(path))}: expected a regular file, found a folder, pipe or device; name a file")
    return fd


def contained(location: str, label: str) -> tuple[str, ...]:
    """Return the components of an external location that stays inside the model's folder.

    Raises:
        UnsafePath: it is empty, absolute, climbs out, or spells another system's separators.
    """
    parts = tuple(part for part in location.split("/") if part not in ("", "."))
    absolute = location.startswith("/") or location[1:2] == ":"
    if absolute or not parts or ".." in parts or "\\" in location or "\0" in location or location.endswith("/"):
        raise UnsafePath(
            f"{label}: expected external data at a relative path inside the model's folder, found "
            f"'{shown(location)}'; do not use this file unless its maker can explain the path"
        )
    return parts


@final
class ExternalFiles:
    """The external files of one model, opened when needed and checked to be the same file each time."""

    def __init__(
        self, folder: Path, label: str, *, allow_links: bool, staged: Mapping[str, Path] | None = None
    ) -> None:
        self.folder = folder
        self.staged = staged or {}  # where files lie that do not have their name yet
        self.label = label
        self.allow_links = allow_links
        self._seen: dict[str, Identity] = {}
        self._open: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def locations(self) -> tuple[str, ...]:
        """Normalised locations in order of first use."""
        return tuple(self._seen)

    def add(self, location: str) -> str:
        """Check and open one location; return it in normal form.

        Raises:
            UnsafePath: it leaves the folder, is a link, or is not a regular file.
        """
        normal = "/".join(contained(location, self.label))
        if normal not in self._seen:
            with self._lock:
                self._descriptor(normal)
        return normal

    def identity(self, location: str) -> Identity:
        """What the file was when it was first opened."""
        return self._seen[location]

    def read(self, location: str, offset: int, count: int) -> Bytes:
        """Read bytes of one external file."""
        with self._lock:
            return read_exactly(self._descriptor(location), offset, count, self.label)

    def duplicate(self, location: str) -> int:
        """Return a descriptor of the caller's own, to copy from."""
        with self._lock:
            return os.dup(self._descriptor(location))

    def unchanged(self, location: str) -> bool:
        """Whether the file is still as it was when first opened."""
        with self._lock:
            return Identity.of(self._descriptor(location)) == self._seen[location]

    def close(self) -> None:
        """Close every descriptor."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1])

    def _descriptor(self, location: str) -> int:
        fd = self._open.pop(location, -1)
        if fd < 0:
            fd = self._open_contained(location)
            found = Identity.of(fd)
            if self._seen.setdefault(location, found) != found:
                os.close(fd)
                raise ArtifactError(
                    f"{self.label}: expected '{shown(location)}' unchanged since opening, found another file; "
                    "read it from a place where nobody writes"
                )
        self._open[location] = fd
        if len(self._open) > _OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def _open_contained(self, location: str) -> int:
        if location in self.staged:
            return os.open(self.staged[location], _FLAGS | os.O_NOFOLLOW)
        parts = self._resolved(location) if self.allow_links else tuple(location.split("/"))
        try:
            fd = _walk(self.folder, parts)
        except OSError as error:
            raise self._unopened(location, error) from None
        facts = os.fstat(fd)
        if stat.S_ISREG(facts.st_mode) and (facts.st_nlink == 1 or self.allow_links):
            return fd
        os.close(fd)
        kind = f"{facts.st_nlink} hard links" if stat.S_ISREG(facts.st_mode) else "a folder, pipe or device"
        raise UnsafePath(
            f"{self.label}: expected external data '{shown(location)}' to be a regular file with one name, "
            f"found {kind}; copy the file, or allow links if you trust its maker"
        )

    def _resolved(self, location: str) -> tuple[str, ...]:
        root = os.path.realpath(self.folder)
        target = os.path.realpath(os.path.join(root, location))
        if os.path.commonpath([root, target]) != root or target == root:
            raise UnsafePath(
                f"{self.label}: expected external data '{shown(location)}' to resolve inside the model's folder, "
                "found a link out of it; copy the data beside the model"
            )
        return tuple(os.path.relpath(target, root).split("/"))

    def _unopened(self, location: str, error: OSError) -> ArtifactError:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            return UnsafePath(
                f"{self.label}: expected external data '{shown(location)}' without symbolic links, found one; "
                "copy the file, or allow links if you trust its maker"
            )
        return ArtifactError(
            f"{self.label}: expected external data '{shown(location)}', found: {error.strerror}; "
            "keep the file beside the model"
        )


def _walk(folder: Path, parts: tuple[str, ...]) -> int:
    fd = os.open(folder, _FLAGS | os.O_DIRECTORY)
    for index, part in enumerate(parts):
        kind = 0 if index == len(parts) - 1 else os.O_DIRECTORY
        try:
            below = os.open(part, _FLAGS | os.O_NOFOLLOW | kind, dir_fd=fd)
        finally:
            os.close(fd)
        fd = below
    return fd

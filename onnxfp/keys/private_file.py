"""A new file that only its owner may read, and that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def new_private_file(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a temporary path beside `path` to fill; publish it when the block ends, remove it when the block fails.

    The file has mode 0600 from its first byte on, is on the disk before its name is, and never replaces another.

    Args:
        path: where the file shall appear.

    Raises:
        FileExistsError: `path` is taken.
        OSError: the folder or the disk refuses.
    """
    target = os.path.abspath(path)
    if os.path.lexists(target):
        raise FileExistsError(target)
    folder = os.path.dirname(target)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(target)[:64]}.", dir=folder)
    os.close(descriptor)
    try:
        yield temporary
        _sync(temporary, os.O_RDWR)
        _publish(temporary, target)
        _sync_folder(folder)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _publish(temporary: str, target: str) -> None:
    try:
        os.link(temporary, target)  # unlike a rename, a link fails when the name was taken in the meantime
    except FileExistsError:
        raise
    except OSError:
        # This file system has no hard links: claim the name first, so that two creators cannot both win.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.replace(temporary, target)


def _sync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: str) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _sync(folder, os.O_RDONLY)

"""Where a copy goes: which files are written, which must not be replaced, which folders are made for them."""

from __future__ import annotations

import os
from pathlib import Path

from onnxfp.artifact.external import Identity
from onnxfp.artifact.reader import Artifact
from onnxfp.artifact.staging import StagedFile, check_target, unwritable
from onnxfp.artifact.wire import shown
from onnxfp.errors import UsageError


def targets(artifact: Artifact, destination: Path, *, force: bool) -> dict[str | None, StagedFile]:
    """Return the files to write, by external location, and the model itself last under None.

    Raises:
        UsageError: the destination's folder is missing, or a file there must not be replaced.
    """
    if not destination.name or not destination.parent.is_dir():
        raise UsageError(
            f"{shown(str(destination))}: expected a file in an existing folder, found none; create it first"
        )
    external = {name: destination.parent / name for name in artifact.external_files}
    if external and destination.parent.samefile(artifact.path.parent):
        raise UsageError(
            f"{shown(str(destination))}: expected another folder than the source's, because the copy's external data "
            f"'{shown(next(iter(external)))}' keep their name; write into a new folder"
        )
    sources = {(i.device, i.inode) for i in _identities(artifact)}
    for target in (*external.values(), destination):
        if _inode(target) in sources:
            raise UsageError(f"{shown(str(target))}: expected another file than the source, found the same; rename it")
        check_target(target, force=force)
    if destination in external.values():
        raise UsageError(
            f"{shown(str(destination))}: expected a name of its own, found an external data file's; rename it"
        )
    files: dict[str | None, StagedFile] = {}
    for name, target in external.items():
        identity = artifact.external.identity(name)
        files[name] = StagedFile(target, identity.size, identity.mode)
    files[None] = StagedFile(destination, artifact.identity.size, artifact.identity.mode)
    return files


def make_folders(location: str | None, target: Path, made: list[Path]) -> None:
    """Make the folders inside the destination's that an external location names; add the new ones to `made`.

    Raises:
        UsageError: a folder cannot be made, or is a link.
    """
    folder = target.parent
    for depth in reversed(range(location.count("/") if location else 0)):
        inner = folder.parents[depth - 1] if depth else folder
        if inner.is_symlink():
            raise UsageError(f"{shown(str(inner))}: expected a folder for external data, found a link; remove it")
        try:
            if not inner.is_dir():
                inner.mkdir()
                made.append(inner)
        except OSError as error:
            unwritable(inner, error)


def _identities(artifact: Artifact) -> list[Identity]:
    return [artifact.identity, *(artifact.external.identity(name) for name in artifact.external_files)]


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino

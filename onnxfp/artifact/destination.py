"""Where a copy goes: which files are written, which must not be replaced, which folders are made for them."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from onnxfp.artifact.external import Identity
from onnxfp.artifact.reader import Artifact, open_artifact
from onnxfp.artifact.staging import StagedFile, check_target, unwritable
from onnxfp.artifact.wire import shown
from onnxfp.errors import ArtifactError, UsageError


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
    _refuse_source(artifact, destination, external)
    for name, target in external.items():
        replaces(target, destination, artifact.path.parent / name, force=force)
    check_target(destination, force=force)
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


def _refuse_source(artifact: Artifact, destination: Path, external: Mapping[str, Path]) -> None:
    if external and destination.parent.samefile(artifact.path.parent):
        raise UsageError(
            f"{shown(str(destination))}: expected another folder than the source's, because the copy's external data "
            f"'{shown(next(iter(external)))}' keep their name; write into a new folder"
        )
    sources = {(i.device, i.inode) for i in _identities(artifact)}
    for target in (*external.values(), destination):
        if _inode(target) in sources:
            raise UsageError(f"{shown(str(target))}: expected another file than the source, found the same; rename it")


def replaces(target: Path, destination: Path, content: Path, *, force: bool) -> bool:
    """Say whether an external data file is there to be replaced.

    Whoever replaces it changes every model that refers to it. So that is done by force only, and only where it is the
    destination's own and no other model's, or where it holds the same bytes as `content` already.

    Raises:
        UsageError: it is there and must not be replaced.
    """
    if not os.path.lexists(target):
        return False
    check_target(target, force=True)
    if not force:
        raise UsageError(
            f"{shown(str(target))}: expected no file there, found external data; write each copy into a folder of "
            "its own"
        )
    try:
        harmless = filecmp.cmp(target, content, shallow=False) or _owned(target, destination)
    except OSError as error:
        unwritable(target, error)
    if not harmless:
        raise UsageError(
            f"{shown(str(target))}: expected external data of '{shown(destination.name)}' alone, found that another "
            "model in this folder uses these external data; write each copy into a folder of its own"
        )
    return True


def _owned(target: Path, destination: Path) -> bool:
    """Whether the destination refers to this external data file and no other model beside either of them does."""
    beside = {model for folder in (destination.parent, target.parent) for model in _models(folder)}
    others = [model for model in beside if model != destination]
    return _refers(destination, target, damaged=False) and not any(
        _refers(model, target, damaged=True) for model in others
    )


def _models(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() == ".onnx" and path.is_file())


def _refers(model: Path, target: Path, *, damaged: bool) -> bool:
    """Whether a model uses this external data file; `damaged` is the answer for what cannot be read as a model."""
    try:
        with open_artifact(model, allow_links=True) as artifact:
            found = {(i.device, i.inode) for i in map(artifact.external.identity, artifact.external_files)}
    except ArtifactError:
        return damaged
    return _inode(target) in found


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

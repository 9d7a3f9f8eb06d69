"""Candidate data: the owner's rows, of which a model is trained on some; they stay on disk while they are used."""

from __future__ import annotations

import shutil
import struct
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from onnxfp.errors import UsageError
from onnxfp.workflows.arrays import UNREADABLE, check_arrays, digest_of, open_regular

_CLASSES = 1 << 31
_LOCAL = 30  # bytes of a local header of an archive before the name
_WANTED = "an .npz with `inputs` and `labels`"


@dataclass(frozen=True)
class Candidates:
    """Rows that a model may be trained on."""

    inputs: npt.NDArray[Any]
    """(rows, ...), as the model takes them."""
    labels: npt.NDArray[np.int64]
    """(rows,)."""
    digest: str
    """What identifies both."""

    @property
    def samples(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays by name, as a scheme takes them."""
        return {"inputs": self.inputs, "labels": self.labels}


@contextmanager
def open_candidates(path: Path) -> Iterator[Candidates]:
    """Open candidate data; they are mapped where they lie, or unpacked to a file that goes away with them.

    Raises:
        UsageError: the file is missing or damaged, or has no labelled rows of numbers.
    """
    with ExitStack() as files:
        try:
            arrays = _mapped(files.enter_context(open_regular(path)), files)
        except UNREADABLE as problem:
            what = str(problem).partition("\n")[0][:200] or type(problem).__name__
            raise UsageError(f"{path}: expected {_WANTED}: {what}") from problem
        for name in ("inputs", "labels"):
            if name not in arrays:
                raise UsageError(f"{path}: expected {_WANTED}: {name} is not a file in the archive")
        inputs, labels = arrays["inputs"], arrays["labels"]
        if inputs.ndim < 2 or not len(inputs) or inputs.dtype.kind not in "fiu":
            raise UsageError(
                f"{path} has inputs of {inputs.dtype} {list(inputs.shape)}; give rows as the model takes them"
            )
        if (
            labels.shape != (len(inputs),)
            or labels.dtype.kind not in "iu"
            or not 0 <= int(labels.min()) <= int(labels.max()) < _CLASSES
        ):
            raise UsageError(
                f"{path} has {len(inputs)} inputs but labels of {labels.dtype} {list(labels.shape)}; give each the "
                "number of its class"
            )
        known = np.array(labels, dtype=np.int64)
        yield Candidates(inputs, known, digest_of({"inputs": inputs, "labels": known}))


def _mapped(file: BinaryIO, files: ExitStack) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an archive that are asked for; whatever is wrong with it raises one of many exceptions."""
    with zipfile.ZipFile(file) as archive:
        check_arrays(file, archive)
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        wanted = {name: member for name, member in members.items() if name in ("inputs", "labels")}
        return {name: _array(file, archive, member, files) for name, member in wanted.items()}


def _array(file: BinaryIO, archive: zipfile.ZipFile, member: zipfile.ZipInfo, files: ExitStack) -> npt.NDArray[Any]:
    if member.compress_type == zipfile.ZIP_STORED:
        file.seek(member.header_offset)
        name, extra = struct.unpack("<HH", file.read(_LOCAL)[26:30])
        return _map(file, member.header_offset + _LOCAL + name + extra, member.file_size)
    unpacked: BinaryIO = files.enter_context(TemporaryFile())  # noqa: SIM115 # the stack closes it
    with archive.open(member) as stream:
        shutil.copyfileobj(stream, unpacked, 1 << 20)
    return _map(unpacked, 0, unpacked.tell())


def _map(file: BinaryIO, start: int, size: int) -> npt.NDArray[Any]:
    """Map the array that begins at a place of a file and takes so many bytes there; beyond them is something else."""
    file.flush()
    file.seek(start)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if prod(shape) * dtype.itemsize > start + size - file.tell():
        raise ValueError(f"{dtype} {list(shape)} is more than there is")
    if not all(shape) or not shape:
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, "r", file.tell(), shape, "F" if fortran else "C")

"""Arrays from an ``.npz`` that anybody may have made: nothing in it is executed, nothing unpacked beyond its due."""

from __future__ import annotations

import hashlib
import io
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from onnxfp.errors import UsageError

_LEAST = 1 << 28  # bytes that any archive may unpack to
_RATIO = 64  # how much larger than its file an archive may be; pictures are packed to a tenth, seldom to a fortieth
_HEADER = 1 << 16
_ROWS = 1024  # that are in memory at a time

# What numpy and zipfile raise at damaged files.
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    SyntaxError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)


def read_npz(path: Path, expected: str, most: int | None = None) -> dict[str, npt.NDArray[Any]]:
    """Return all arrays of an ``.npz`` by name.

    Args:
        path: the file.
        expected: what it should hold, for the message.
        most: bytes that it may unpack to, however large it is; None for no bound besides its own size.

    Raises:
        UsageError: it is missing or damaged, holds anything but arrays of numbers, or unpacks to too much.
    """
    try:
        with open_regular(path) as file:
            return arrays_of(file, most)
    except UNREADABLE as problem:
        what = str(problem).partition("\n")[0][:200] or type(problem).__name__
        raise UsageError(f"{path}: expected an .npz with {expected}: {what}") from problem


def open_regular(path: Path) -> BinaryIO:
    """Open a file to be read; one that is none, such as a device or a pipe, is a `ValueError`."""
    if not S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file")
    return path.open("rb")


def arrays_of(file: BinaryIO, most: int | None = None) -> dict[str, npt.NDArray[Any]]:
    """Return all arrays of an archive; whatever is wrong with it raises one of many exceptions, none of them ours."""
    file.seek(0)
    if not zipfile.is_zipfile(file):
        file.seek(0)
        found = "a single array" if file.read(6) == np.lib.format.MAGIC_PREFIX else "no archive of arrays"
        raise ValueError(f"it is {found}")
    with zipfile.ZipFile(file) as archive:
        check_arrays(file, archive, most)
        return {member.filename.removesuffix(".npy"): _array(archive, member) for member in archive.infolist()}


def check_arrays(file: BinaryIO, archive: zipfile.ZipFile, most: int | None = None) -> None:
    """Refuse an archive that holds anything but arrays of numbers, or unpacks beyond its due; nothing is unpacked.

    Raises:
        ValueError: it does.
    """
    size = file.seek(0, io.SEEK_END)
    total = sum(_unpacked(archive, member) for member in archive.infolist())
    limit = max(_LEAST, _RATIO * size) if most is None else min(most, max(_LEAST, _RATIO * size))
    if total > limit:
        raise ValueError(f"its {size} bytes unpack to {total}, more than {limit}")


def packed(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return an ``.npz``; `numpy.savez` of our oldest numpy knows no `allow_pickle`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def digest_of(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    """Return what identifies arrays with their names, whatever their order: SHA-256, hexadecimal."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.atleast_1d(arrays[name])
        total.update(repr((name, array.dtype.str, array.shape)).encode())
        for at in range(0, max(1, len(array)), _ROWS):
            total.update(array[at : at + _ROWS].tobytes())
    return total.hexdigest()


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Return how many bytes an array takes, going by the archive and by its own header."""
    if not member.filename.endswith(".npy"):
        raise ValueError(f"{member.filename[:60]!r} is no array")
    with archive.open(member) as stream:
        head = io.BytesIO(stream.read(_HEADER))
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(head)
    if dtype.hasobject:
        raise ValueError(f"{member.filename[:60]!r} holds objects, which are never unpacked")
    return max(member.file_size, prod(shape) * dtype.itemsize)


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(member) as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array

"""Key images as files: what is issued, and what anybody may present; nothing is unpacked before its size is known."""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from onnxfp.artifact import check_target, write_whole
from onnxfp.errors import UsageError
from onnxfp.stego.lossless import bmp, png
from onnxfp.stego.payload import Pixels
from onnxfp.workflows.vault import refuse_inside_vault

_WRITERS = {".png": png, ".bmp": bmp}
_ADVICE = "present the PNG or BMP that was issued"
_HEAD = 64  # bytes that hold the header of either format
_SPARE = 1 << 20  # bytes of metadata that some program may have added
_PER_PIXEL = 8
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # of Pillow: eight bits at most
_DEPTHS = {"PNG": (1, 2, 4, 8), "BMP": (1, 4, 8, 24, 32)}

# What other files begin with, and why they are refused.
_OTHERS = (
    (b"\xff\xd8\xff", 0, "JPEG is lossy: the payload is in the low bits"),
    (b"WEBP", 8, "WebP is refused, as it is lossy more often than not: the payload is in the low bits"),
    (b"GIF8", 0, "GIF is refused, as it keeps 256 colours at most: the payload is in the low bits"),
    (b"II*\0", 0, "TIFF is refused, as it may hold a lossy picture, or several"),
    (b"MM\0*", 0, "TIFF is refused, as it may hold a lossy picture, or several"),
    (b"ftyp", 4, "HEIC and AVIF are lossy: the payload is in the low bits"),
)


def check_output(path: Path, *, force: bool) -> None:
    """Refuse an output that cannot be taken, before anything is recorded.

    Raises:
        UsageError: it is no PNG or BMP by name, lies in a vault, exists, or cannot be written.
    """
    if path.suffix.lower() not in _WRITERS:
        raise UsageError(
            f"{path}: expected a name that ends in .png or .bmp, found {path.suffix or 'no suffix'}; key images are "
            "written without loss"
        )
    refuse_inside_vault(path)
    check_target(path, force=force)


def write_picture(path: Path, pixels: Pixels, *, force: bool) -> None:
    """Write a picture (height, width, 1 or 3); it appears whole or not at all, and the same pixels are the same bytes.

    Raises:
        UsageError: see `check_output`.
    """
    check_output(path, force=force)
    write_whole(path, _WRITERS[path.suffix.lower()](pixels), force=force)


def read_picture(path: Path, sizes: Collection[tuple[int, int]]) -> Pixels:
    """Return the pixels (height, width, 3) of a file that anybody may have made.

    Args:
        path: the file.
        sizes: heights and widths that it may have; no other size is unpacked.

    Raises:
        UsageError: it is missing, damaged, of another format or size, or could not be read without loss.
    """
    with _opened(path) as file:
        kind, size = _header(path, file.read(_HEAD))
        if size not in sizes:
            wanted = " or ".join(f"{width} x {height}" for height, width in sorted(set(sizes)))
            raise UsageError(f"{path}: expected {wanted} pixels, found {size[1]} x {size[0]}; {_ADVICE}, not resized")
        most = _SPARE + _PER_PIXEL * size[0] * size[1]
        file.seek(0)
        data = file.read(most + 1)
    if len(data) > most:
        raise UsageError(f"{path}: expected at most {most} bytes for so few pixels, found more; {_ADVICE}")
    return _unpacked(path, kind, size, data)


def in_channels(picture: Pixels, channels: int) -> Pixels | None:
    """Return a picture (height, width, 3) with as many channels; None where that would lose something."""
    if channels == picture.shape[2]:
        return picture
    return picture[..., :1] if (picture == picture[..., :1]).all() else None


def _opened(path: Path) -> io.BufferedReader:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer would wait for ever
    except (OSError, ValueError) as problem:
        raise UsageError(f"{path}: cannot be read: {getattr(problem, 'strerror', '') or problem}") from problem
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"{path}: expected a picture, found a folder, pipe or device; {_ADVICE}")
    return os.fdopen(fd, "rb")


def _header(path: Path, head: bytes) -> tuple[str, tuple[int, int]]:
    """Return format, height and width, from the first bytes alone."""
    try:
        match head[:2]:
            case b"\x89P":
                width, height, depth = struct.unpack_from(">IIB", head, 16)
                kind, genuine = "PNG", head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR"
            case b"BM":
                short = head[14:18] == struct.pack("<I", 12)
                width, height, _, depth = struct.unpack_from("<HHHH" if short else "<iiHH", head, 18)
                kind, genuine = "BMP", True
            case _:
                raise UsageError(f"{path}: {_other(head)}; {_ADVICE}")
    except struct.error as problem:
        raise UsageError(f"{path}: the file is cut off within its header; {_ADVICE}") from problem
    if not genuine or depth not in (*_DEPTHS[kind], 16):
        raise UsageError(f"{path}: the header of the {kind} is damaged; {_ADVICE}")
    if depth == 16:
        raise UsageError(f"{path}: expected 8 bits to a value, found a {kind} of 16; {_ADVICE}")
    return kind, (abs(height), width)


def _other(head: bytes) -> str:
    for begins, at, why in _OTHERS:
        if head[at : at + len(begins)] == begins:
            return why
    return "expected a PNG or BMP, found something else" if head else "the file is empty"


def _unpacked(path: Path, kind: str, size: tuple[int, int], data: bytes) -> Pixels:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as problem:
        raise UsageError("reading pictures needs Pillow; install `onnxfp[stego]`") from problem
    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as picture:
            _refuse_form(picture, size)
            values = np.asarray(picture.convert("RGBA"))
    except Exception as problem:  # Pillow raises many kinds at damaged files
        unidentified = isinstance(problem, UnidentifiedImageError)  # its message is an address in memory
        what = "it is damaged" if unidentified else str(problem).partition("\n")[0][:100] or type(problem).__name__
        raise UsageError(f"{path}: cannot be read as a {kind}: {what}; {_ADVICE}") from problem
    if (values[..., 3] != 255).any():
        raise UsageError(f"{path}: expected an opaque picture, found a transparent one; {_ADVICE}")
    return np.ascontiguousarray(values[..., :3])


def _refuse_form(picture: Any, size: tuple[int, int]) -> None:
    if (picture.height, picture.width) != size:
        raise ValueError(f"its header says two sizes, {size[1]} x {size[0]} and {picture.width} x {picture.height}")
    if getattr(picture, "n_frames", 1) != 1:
        raise ValueError("it is animated")
    if picture.mode not in _MODES:
        raise ValueError(f"its values are of kind {picture.mode}, not of 8 bits")

"""Tensors as bytes: little-endian values in row-major order, BYTES with a four-byte length before each element."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.suspect.v2 import DTYPES, Refused, checked_count

_ELEMENTS = 2**20
_LETTERS = 1024


def to_raw(values: npt.NDArray[Any]) -> bytes:
    """Return an array as the protocol's bytes; an ``object`` array holds bytes."""
    if values.dtype.kind == "O":
        return b"".join(struct.pack("<I", len(one)) + one for one in values.ravel())
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()


def from_raw(datatype: str, shape: tuple[int, ...], raw: bytes) -> npt.NDArray[Any]:
    """Return the array that `raw` holds; an ``object`` array of text for BYTES.

    Raises:
        Refused: the length does not fit the shape, or the datatype is unknown.
    """
    if datatype == "BYTES":
        return texts(_elements(raw), shape)
    if datatype == "BF16":
        halves = from_raw("UINT16", shape, raw).astype(np.uint32)
        return (halves << np.uint32(16)).view(np.float32)
    if datatype not in DTYPES:
        raise Refused("an output has a datatype that the protocol does not know")
    dtype = DTYPES[datatype]
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise Refused(f"an output says {datatype} {list(shape)} and brings {len(raw)} bytes")
    return np.frombuffer(raw, dtype=dtype).reshape(shape)


def texts(elements: list[bytes], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return text of this shape.

    Raises:
        Refused: there are not as many, or they are longer than any name of a class.
    """
    checked_count(shape, len(elements))
    if any(len(element) > _LETTERS for element in elements):
        raise Refused(f"an output holds text of more than {_LETTERS} bytes")
    made = np.empty(len(elements), dtype=object)
    made[:] = [element.decode("utf-8", "replace") for element in elements]
    return made.reshape(shape)


def _elements(raw: bytes) -> list[bytes]:
    elements: list[bytes] = []
    at = 0
    while at < len(raw) and len(elements) < _ELEMENTS:
        (length,) = struct.unpack_from("<I", raw, at) if at + 4 <= len(raw) else (len(raw),)
        elements.append(raw[at + 4 : at + 4 + length])
        at += 4 + length
    if at != len(raw):
        raise Refused("an output of text is cut short")
    return elements

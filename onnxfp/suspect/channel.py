"""How a parent and the child that runs a hostile model talk: short JSON messages, and arrays beside them.

Messages are length-prefixed frames on a pair of pipes. Arrays lie in memory that both have mapped, where the platform
can forbid the child to cut it off under the parent (a sealed memfd, Linux), and else follow their message on the pipe.
Both ends use the same code, and each treats what it receives as an adversary's: sizes are checked before anything is
allocated, and the parent copies before it looks.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

ROOM = 64 << 20
"""Bytes of arrays in one message, each way."""
_MESSAGE = 64 << 10
"""Bytes of a message."""
_ARRAYS = 64
_AXES = 16
_ALIGNED = 64
_LENGTH = struct.Struct("<I")
_WIDTHS = (8, 16, 32, 64)
TYPES = frozenset(
    ["bool", "float16", "float32", "float64", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in _WIDTHS)]
)
_NOTHING = "object"
"""Stands for an array of anything else; none of it is sent."""
Arrays = Sequence[npt.NDArray[Any]]


class Garbled(ValueError):
    """What was received is not a message."""


class TooLarge(ValueError):
    """The arrays do not fit into one message."""

    size = 0
    """Bytes that they would take, if that is why."""


def shared_memory() -> int | None:
    """Return a descriptor of memory for both directions, whose size nobody can change; None where there is none."""
    if sys.platform != "linux":
        return None
    import fcntl

    descriptor = os.memfd_create("onnxfp", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, 2 * ROOM)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


@final
@dataclass(frozen=True)
class Channel:
    """One end. The parent's arrays lie in the first half of the shared memory, the child's in the second."""

    reader: int
    writer: int
    memory: mmap.mmap | None
    parent: bool

    def send(self, message: Mapping[str, Any], arrays: Arrays = ()) -> None:
        """Send a message with arrays.

        Raises:
            TooLarge: nothing was sent.
        """
        arrays = [_sendable(array) for array in arrays]
        if len(arrays) > _ARRAYS or _end(arrays) > ROOM:
            problem = TooLarge("the arrays do not fit")
            problem.size = _end(arrays)
            raise problem
        described = [[array.dtype.name, list(array.shape)] for array in arrays]
        text = json.dumps({**message, "arrays": described}).encode("ascii")
        if len(text) > _MESSAGE:
            raise TooLarge("the message does not fit")
        if self.memory is not None:
            for array, place in zip(arrays, self._places(self.memory, arrays, mine=True), strict=True):
                np.copyto(place, array)
        _write(self.writer, _LENGTH.pack(len(text)) + text)
        if self.memory is None:
            for array in arrays:
                _write(self.writer, array.tobytes())

    def receive(self) -> tuple[dict[str, Any], list[npt.NDArray[Any]]]:
        """Wait for a message; the child gets views, which the next message overwrites, the parent copies.

        Raises:
            Garbled: it is not a message.
            EOFError: the other end is gone.
        """
        (length,) = _LENGTH.unpack(_read(self.reader, _LENGTH.size))
        if length > _MESSAGE:
            raise Garbled(f"a message of {length} bytes")
        message = _parsed(_read(self.reader, length))
        blanks = _blanks(message.pop("arrays", None))
        if self.memory is None:
            return message, [_array(self.reader, blank) for blank in blanks]
        places = self._places(self.memory, blanks, mine=False)
        return message, [place.copy() for place in places] if self.parent else places

    def _places(self, memory: mmap.mmap, arrays: Arrays, *, mine: bool) -> list[npt.NDArray[Any]]:
        at, places = 0 if self.parent == mine else ROOM, []
        for array in arrays:
            place = np.frombuffer(memory, array.dtype, array.size, at) if array.size else np.empty(0, array.dtype)
            places.append(place.reshape(array.shape))
            at += _aligned(array.nbytes)
        return places


def open_channel(reader: int, writer: int, shared: int | None, *, parent: bool) -> Channel:
    """Return one end of a channel."""
    memory = None if shared is None else mmap.mmap(shared, 2 * ROOM)
    return Channel(reader, writer, memory, parent)


def _sendable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array if array.dtype.name in TYPES and array.dtype.isnative else np.empty(0, dtype=object)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _end(arrays: Arrays) -> int:
    return sum(_aligned(array.nbytes) for array in arrays)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise Garbled("a message that is not JSON") from problem
    if not isinstance(message, dict):
        raise Garbled("a message that is not an object")
    return message


def _blanks(described: Any) -> list[npt.NDArray[Any]]:
    """Return arrays of the types and shapes described that take no memory of their own."""
    if not isinstance(described, list) or len(described) > _ARRAYS:
        raise Garbled("no list of arrays")
    blanks = [_blank(one) for one in described]
    if _end(blanks) > ROOM:
        raise Garbled("arrays that do not fit")
    return blanks


def _blank(described: Any) -> npt.NDArray[Any]:
    match described:
        case [str(name), list(shape)] if name == _NOTHING and shape == [0]:
            return np.empty(0, dtype=object)
        case [str(name), list(shape)] if name in TYPES and _is_shape(shape):
            dtype = np.dtype(name)
            if math.prod(side or 1 for side in shape) * dtype.itemsize > ROOM:
                raise Garbled("an array that does not fit")
            return np.broadcast_to(np.zeros((), dtype), shape)
    raise Garbled("an array that is none")


def _is_shape(shape: list[Any]) -> bool:
    return len(shape) <= _AXES and all(type(side) is int and 0 <= side <= ROOM for side in shape)


def _array(reader: int, blank: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if blank.dtype == object:
        return np.empty(0, dtype=object)
    return np.frombuffer(_read(reader, blank.nbytes), blank.dtype).reshape(blank.shape)


def _read(reader: int, size: int) -> bytes:
    parts, missing = [], size
    while missing:
        part = os.read(reader, min(missing, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _write(writer: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(writer, view) :]

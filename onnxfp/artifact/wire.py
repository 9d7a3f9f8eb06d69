"""The protobuf wire format, read through a small window: fields, varints, nothing of ONNX.

Only what a message says about itself is looked at; payloads are skipped, not loaded. Work is linear in the number of
fields and memory is one window, whatever lengths a hostile file declares.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn, final

import numpy as np
import numpy.typing as npt

from onnxfp.errors import ArtifactError

Bytes = npt.NDArray[np.uint8]
Field = tuple[int, int, int, int, int]
"""(number, wire type, value of a varint else 0, begin, end of the payload)."""

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5
_LONGEST = 10  # bytes of a 64-bit varint
_SMALL, _LARGE = 1 << 12, 1 << 18
_HINT = "the file is damaged or not ONNX: export or fetch it again"


def shown(text: str) -> str:
    """Return `text` safe to print on one line: unprintable characters escaped, long middles cut."""
    if len(text) > 120:
        text = f"{text[:80]}...{text[-30:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def read_exactly(fd: int, offset: int, count: int, label: str) -> Bytes:
    """Read `count` bytes at `offset`; a file that ends earlier shrank since it was opened."""
    data = np.empty(count, dtype=np.uint8)
    done = 0
    while done < count:
        try:
            step = os.preadv(fd, [data[done : done + (1 << 30)].data], offset + done)
        except OSError as error:
            raise ArtifactError(
                f"{shown(label)}: expected to read it, found: {error.strerror}; check the disk"
            ) from None
        if step == 0:
            raise ArtifactError(
                f"{shown(label)}: expected {count} bytes at {offset}, found {done}: the file shrank while being read; "
                "read it from a place where nobody writes"
            )
        done += step
    return data


@final
class Window:
    """A small buffer that slides over an open file of known size."""

    def __init__(self, fd: int, size: int, label: str) -> None:
        self.fd = fd
        self.size = size
        self.label = shown(label)
        self._base = 0
        self._buffer = b""
        self._reach = _SMALL
        # honest fields take more than four bytes each; dense garbage must not cost more memory than a few files
        self._budget = (1 << 19) + size // 4

    def defect(self, what: str, hint: str = _HINT) -> NoReturn:
        """Refuse the file in one line."""
        raise ArtifactError(f"{self.label}: {what}; {hint}")

    def keep(self, cost: int) -> None:
        """Account for something that stays in memory: 1 for a field's place, 8 for a record.

        Raises:
            ArtifactError: more is to be kept than a file of this size can honestly hold.
        """
        self._budget -= cost
        if self._budget < 0:
            self.defect("expected nodes and tensors of ordinary size, found a file of mostly empty ones")

    def varint(self, position: int, limit: int) -> tuple[int, int]:
        """Return the unsigned 64-bit varint at `position` and where it ends, at most at `limit`."""
        index = position - self._base
        if not 0 <= index <= len(self._buffer) - _LONGEST:
            index = self._slide(position)
        if position < limit:
            byte = self._buffer[index]
            if byte < 0x80:
                return byte, position + 1
        return self._long_varint(index, min(_LONGEST, limit - position), position)

    def text(self, begin: int, end: int) -> str:
        """Return a string field; bytes that are not UTF-8 are shown as escapes."""
        return self.raw(begin, end).decode("utf-8", "backslashreplace")

    def raw(self, begin: int, end: int) -> bytes:
        """Return the bytes of one field."""
        index = begin - self._base
        if index < 0 or end - self._base > len(self._buffer):
            if end - begin > _SMALL:
                return read_exactly(self.fd, begin, end - begin, self.label).tobytes()
            index = self._slide(begin)
        return self._buffer[index : index + end - begin]

    def _long_varint(self, index: int, room: int, position: int) -> tuple[int, int]:
        value = 0
        for count in range(room):
            byte = self._buffer[index + count]
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80:
                if value >> 64:
                    break
                return value, position + count + 1
        self.defect(f"expected a number of at most 64 bits at byte {position}, found none that ends")

    def _slide(self, position: int) -> int:
        follows = self._base <= position <= self._base + len(self._buffer)
        self._reach = min(_LARGE, 2 * self._reach) if follows else _SMALL
        count = max(0, min(self._reach, self.size - position))
        self._buffer = read_exactly(self.fd, position, count, self.label).tobytes()
        self._base = position
        return 0


def fields(window: Window, start: int, stop: int) -> Iterator[Field]:
    """Yield the fields of the message in ``[start, stop)``; every payload lies inside it.

    Raises:
        ArtifactError: a field is truncated, numbered 0, or of a wire type that ONNX does not use.
    """
    varint = window.varint
    position = start
    while position < stop:
        tag, begin = varint(position, stop)
        number, wire = tag >> 3, tag & 7
        value = 0
        if wire == DELIMITED:
            length, begin = varint(begin, stop)
            end = begin + length
        elif wire == VARINT:
            value, end = varint(begin, stop)
        else:
            end = begin + _fixed_width(window, wire, position)
        if end > stop or not number:
            window.defect(f"expected a field that ends by byte {stop}, found field {number} at {position} up to {end}")
        yield number, wire, value, begin, end
        position = end


def _fixed_width(window: Window, wire: int, position: int) -> int:
    if wire == FIXED32:
        return 4
    if wire == FIXED64:
        return 8
    window.defect(f"expected wire type 0, 1, 2 or 5 at byte {position}, found {wire}")


def signed(value: int) -> int:
    """Return an unsigned 64-bit varint as the int64 that it stands for."""
    return value - (1 << 64) if value >> 63 else value


def varints(data: Bytes, label: str) -> npt.NDArray[np.uint64]:
    """Decode a whole block of consecutive varints, without a Python loop over them.

    Raises:
        ArtifactError: one is longer than ten bytes, overflows 64 bits, or the last one does not end.
    """
    ends = np.flatnonzero(data < 0x80)
    if not len(data):
        return np.zeros(0, dtype=np.uint64)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else np.zeros(0, dtype=np.int64)
    lengths = ends - starts + 1
    if not len(ends) or ends[-1] != len(data) - 1 or lengths.max() > _LONGEST:
        raise ArtifactError(
            f"{shown(label)}: expected numbers of at most ten bytes, found one that does not end; {_HINT}"
        )
    if np.any(data[ends[lengths == _LONGEST]] > 1):
        raise ArtifactError(f"{shown(label)}: expected numbers of at most 64 bits, found a longer one; {_HINT}")
    shifts = (np.arange(len(data)) - np.repeat(starts, lengths)).astype(np.uint64) * np.uint64(7)
    values: npt.NDArray[np.uint64] = np.add.reduceat((data & 0x7F).astype(np.uint64) << shifts, starts)
    return values

"""From where a tensor lies to its canonical bytes: fixed width, little-endian, packed as ``raw_data`` would be."""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol, assert_never

import numpy as np
import numpy.typing as npt

from onnxfp.artifact.dtypes import DOUBLE_DATA, FLOAT_DATA, DType
from onnxfp.artifact.records import Packing, Run, TensorRecord
from onnxfp.artifact.wire import Bytes, shown, varints
from onnxfp.errors import ArtifactError

Entries = npt.NDArray[np.uint8 | np.int64]


class Source(Protocol):
    """Something that gives the bytes of the file in which a tensor lies."""

    def bytes_of(self, record: TensorRecord, offset: int, count: int) -> Bytes:
        """Read `count` bytes at `offset` of the tensor's file."""
        ...


def canonical(source: Source, record: TensorRecord, start: int, stop: int) -> Bytes:
    """Return the canonical bytes of elements ``[start, stop)``; `start` must begin a whole byte.

    Raises:
        ArtifactError: the stored numbers do not fit the element type.
    """
    dtype = record.type
    first, last = start * dtype.bits // 8, dtype.stored_bytes(stop)
    if stop <= start or not record.runs:
        return np.zeros(0, dtype=np.uint8)
    if len(record.runs) == 1 and record.runs[0].packing is Packing.CANONICAL:
        data = source.bytes_of(record, record.runs[0].offset + first, last - first)
        return _without_padding(data, dtype, stop - start)
    entries = _entries(source, record, dtype.stored_entries(start), dtype.stored_entries(stop))
    return _without_padding(_packed(entries, record), dtype, stop - start)


def _without_padding(data: Bytes, dtype: DType, size: int) -> Bytes:
    """Zero the unused high bits of the last byte, which no reader sees."""
    used = size * dtype.bits % 8
    if used:
        data[-1] &= (1 << used) - 1
    return data


def _entries(source: Source, record: TensorRecord, start: int, stop: int) -> Entries:
    """Stored entries ``[start, stop)``: int64 values of varints, or bytes of fixed-width ones."""
    width = {FLOAT_DATA: 4, DOUBLE_DATA: 8}.get(record.type.field, 1)
    firsts = [run.first for run in record.runs]
    index = max(0, bisect_right(firsts, start) - 1)
    pieces = []
    while index < len(record.runs) and record.runs[index].first < stop:
        run = record.runs[index]
        lo, hi = max(0, start - run.first), stop - run.first
        pieces.append(_piece(source, record, run, (lo, hi), width))
        index += 1
    return np.concatenate(pieces)


def _piece(source: Source, record: TensorRecord, run: Run, span: tuple[int, int], width: int) -> Entries:
    lo, hi = span
    match run.packing:
        case Packing.CANONICAL:
            stop = min(run.stop, run.offset + hi * width)
            return source.bytes_of(record, run.offset + lo * width, stop - run.offset - lo * width)
        case Packing.TAGGED_FIXED:
            rows = source.bytes_of(record, run.offset, run.stop - run.offset).reshape(-1, 1 + width)
            return _untagged(rows, record)[lo:hi].reshape(-1)
        case Packing.VARINT:
            data = source.bytes_of(record, run.offset, run.stop - run.offset)
            return varints(data, record.name)[lo:hi].view(np.int64)
        case Packing.TAGGED_VARINT:
            data = source.bytes_of(record, run.offset, run.stop - run.offset)
            return varints(data, record.name)[1::2][lo:hi].view(np.int64)
        case Packing.STRINGS:
            raise ArtifactError(f"tensor '{shown(record.name)}': expected numbers, found strings; nothing to read")
        case _:
            assert_never(run.packing)


def _untagged(rows: Bytes, record: TensorRecord) -> Bytes:
    if np.any(rows[:, 0] != rows[0, 0]):
        raise ArtifactError(
            f"tensor '{shown(record.name)}': expected one-byte tags between values, found others; export it again"
        )
    return rows[:, 1:]


def _packed(entries: Entries, record: TensorRecord) -> Bytes:
    """Fixed-width bytes of stored entries."""
    if entries.dtype == np.uint8:
        return np.ascontiguousarray(entries.view(np.uint8))
    bits = 8 if record.type.elements > 1 else record.type.bits
    low, high = int(entries.min()), int(entries.max())
    if bits < 64 and (low < -(1 << bits - 1) or high >= 1 << bits):
        raise ArtifactError(
            f"tensor '{shown(record.name)}': expected {record.dtype} values, found {low if low < 0 else high} "
            "among them; export the model again"
        )
    if bits == 6:
        return _six_bits((entries & 0x3F).astype(np.uint8))
    return entries.astype(f"<u{bits // 8}").view(np.uint8)


def _six_bits(values: Bytes) -> Bytes:
    """Four 6-bit values to three bytes, lowest bits first."""
    padded = np.zeros(-(-len(values) // 4) * 4, dtype=np.uint32)
    padded[: len(values)] = values
    words = (padded.reshape(-1, 4) << np.array([0, 6, 12, 18], dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
    packed: Bytes = words.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].reshape(-1)[: -(-len(values) * 6 // 8)]
    return packed

"""Bytes of string tensors, each string after its length, so that two tensors are equal when their strings are."""

from __future__ import annotations

from collections.abc import Iterator

from onnxfp.artifact.dtypes import STRING_DATA
from onnxfp.artifact.records import TensorRecord
from onnxfp.artifact.wire import Window, fields, read_exactly

_CHUNK = 1 << 20


def string_bytes(fd: int, record: TensorRecord, label: str) -> Iterator[bytes]:
    """Yield every string of a tensor, after its length in eight bytes, in pieces of at most 1 MiB."""
    run = record.runs[0]
    for number, _, _, begin, end in fields(Window(fd, run.stop, label), run.offset, run.stop):
        if number == STRING_DATA:
            yield (end - begin).to_bytes(8, "little")
            for at in range(begin, end, _CHUNK):
                yield read_exactly(fd, at, min(_CHUNK, end - at), label).tobytes()

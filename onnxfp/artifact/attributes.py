"""A node's attributes, read from the file when somebody asks: numbers, texts and lists of them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from onnxfp.artifact.graph import split
from onnxfp.artifact.records import NodeRecord
from onnxfp.artifact.wire import DELIMITED, FIXED32, VARINT, Window, signed

Attribute = int | float | bytes | tuple[int, ...] | tuple[float, ...] | tuple[bytes, ...]
_SINGULAR = {1: DELIMITED, 2: FIXED32, 3: VARINT, 4: DELIMITED, 20: VARINT}
_KINDS = {1: 2, 2: 3, 3: 4, 6: 7, 7: 8, 8: 9}  # AttributeType -> field that holds it


def node_attributes(window: Window, node: NodeRecord) -> dict[str, Attribute]:
    """Return the attributes of one node by name; tensors, graphs and types are left out.

    Raises:
        ArtifactError: an attribute is malformed.
    """
    found: dict[str, Attribute] = {}
    for span in split(window, (node.begin, node.end), {}, (5,), "node").pieces(5):
        parts = split(window, span[1:], _SINGULAR, (7, 8, 9), "attribute")
        _, begin, end = parts.once.get(1, (0, 0, 0))
        kind = parts.once.get(20, (0, 0, 0))[0]
        number = _KINDS.get(kind)
        if number in (2, 3, 4):
            found[window.text(begin, end)] = _single(window, number, parts.once.get(number, (0, 0, 0)))
        elif number is not None:
            found[window.text(begin, end)] = _several(window, number, parts.pieces(number))
    return found


def _single(window: Window, number: int, at: tuple[int, int, int]) -> Attribute:
    value, begin, end = at
    if number == 3:
        return signed(value)
    data = window.raw(begin, end)
    if number == 4:
        return data
    return float(struct.unpack("<f", data)[0]) if data else 0.0


def _several(window: Window, number: int, pieces: Iterator[tuple[int, int, int]]) -> Attribute:
    if number == 9:
        return tuple(window.raw(begin, end) for wire, begin, end in pieces if wire == DELIMITED)
    if number == 7:
        data = b"".join(window.raw(begin, end) for _, begin, end in pieces)
        return struct.unpack(f"<{len(data) // 4}f", data[: len(data) // 4 * 4])
    numbers: list[int] = []
    for wire, begin, end in pieces:
        at = begin
        while wire in (VARINT, DELIMITED) and at < end:
            value, at = window.varint(at, end)
            numbers.append(signed(value))
    return tuple(numbers)

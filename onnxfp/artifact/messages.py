"""Small messages of ONNX written by hand: tensors, nodes, declared shapes; the opposite of what `wire` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onnxfp.artifact.dtypes import DTYPES
from onnxfp.artifact.wire import DELIMITED, VARINT, Window, fields

Extents = Sequence[int | None]
"""Extents of a value's axes; None is left as it is declared."""
_CODES = {dtype.name: code for code, dtype in DTYPES.items()}
_INT, _INTS, _TENSOR = 2, 7, 4  # AttributeType


@dataclass(frozen=True)
class NewTensor:
    """A tensor to be stored in the model file itself."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes
    """Canonical little-endian bytes."""


def varint(value: int) -> bytes:
    """Return a number as protobuf writes it; negative ones take ten bytes."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def entry(number: int, payload: bytes | str | int) -> bytes:
    """Return one field of a message: a number, a text or a message."""
    if isinstance(payload, int):
        return varint(number << 3 | VARINT) + varint(payload)
    data = payload.encode() if isinstance(payload, str) else payload
    return opening(number, len(data)) + data


def opening(number: int, length: int) -> bytes:
    """Return what stands before a field of `length` bytes."""
    return varint(number << 3 | DELIMITED) + varint(length)


def tensor_message(tensor: NewTensor) -> bytes:
    """Return a TensorProto with raw data."""
    dims = b"".join(entry(1, extent) for extent in tensor.shape)
    return dims + entry(2, _CODES[tensor.dtype]) + entry(8, tensor.name) + entry(9, tensor.data)


def constant_attribute(tensor: NewTensor) -> bytes:
    """Return the attribute of a Constant node that holds a tensor."""
    return entry(1, "value") + entry(5, tensor_message(tensor)) + entry(20, _TENSOR)


def node_message(
    name: str,
    operator: str,
    inputs: Sequence[str],
    output: str,
    attributes: Mapping[str, int | tuple[int, ...]] | None = None,
) -> bytes:
    """Return a NodeProto of the standard's domain with one output."""
    ends = b"".join(entry(1, value) for value in inputs) + entry(2, output)
    described = b"".join(entry(5, _attribute(*item)) for item in (attributes or {}).items())
    return ends + entry(3, name) + entry(4, operator) + described


def _attribute(name: str, value: int | tuple[int, ...]) -> bytes:
    if isinstance(value, int):
        return entry(1, name) + entry(3, value) + entry(20, _INT)
    return entry(1, name) + b"".join(entry(8, item) for item in value) + entry(20, _INTS)


def value_message(tensor: NewTensor, *, ranked: bool = True) -> bytes:
    """Return the ValueInfoProto that declares a tensor, with its extents or without any."""
    dims = b"".join(entry(1, entry(1, extent)) for extent in tensor.shape)
    kind = entry(1, _CODES[tensor.dtype]) + (entry(2, dims) if ranked else b"")
    return entry(1, tensor.name) + entry(2, entry(1, kind))


# --- messages of the file, with parts replaced ------------------------------------------------------------------------


def node_with(window: Window, span: tuple[int, int], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Return the node in `span` with other inputs and outputs."""
    ends = b"".join(entry(1, name) for name in inputs) + b"".join(entry(2, name) for name in outputs)
    return ends + _rest(window, span, (1, 2))


def constant_with(window: Window, span: tuple[int, int], tensor: NewTensor) -> bytes:
    """Return the Constant node in `span` with another value."""
    return _rest(window, span, (5,)) + entry(5, constant_attribute(tensor))


def resized(window: Window, span: tuple[int, int], extents: Extents) -> bytes:
    """Return the ValueInfoProto in `span` with other extents, where it declares a shape at all."""

    def kind(at: tuple[int, int]) -> bytes:
        return replaced(window, at, 1, tensor)

    def tensor(at: tuple[int, int]) -> bytes:
        return replaced(window, at, 2, lambda shape: _shape(window, shape, extents))

    return replaced(window, span, 2, kind)


def _shape(window: Window, span: tuple[int, int], extents: Extents) -> bytes:
    dims = [(begin, end) for number, _, _, begin, end in fields(window, *span) if number == 1]
    if len(dims) != len(extents):
        return b"".join(entry(1, b"" if extent is None else entry(1, extent)) for extent in extents)
    kept = (
        window.raw(*dim) if extent is None else entry(1, extent) + _rest(window, dim, (1, 2))
        for dim, extent in zip(dims, extents, strict=True)
    )
    return b"".join(entry(1, dim) for dim in kept)


def _rest(window: Window, span: tuple[int, int], without: tuple[int, ...]) -> bytes:
    """All fields of a message but those."""
    kept, start = [], span[0]
    for number, _, _, _, end in fields(window, *span):
        if number not in without:
            kept.append(window.raw(start, end))
        start = end
    return b"".join(kept)


def replaced(window: Window, span: tuple[int, int], number: int, make: Callable[[tuple[int, int]], bytes]) -> bytes:
    """Return a message with the payload of one field made anew."""
    kept, start = [], span[0]
    for found, wire, _, begin, end in fields(window, *span):
        whole = found != number or wire != DELIMITED
        kept.append(window.raw(start, end) if whole else entry(number, make((begin, end))))
        start = end
    return b"".join(kept)

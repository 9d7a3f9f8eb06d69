"""Values as laws compare them: a canonical dump without pickle, and arrays that refuse to be changed."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from enum import Enum

import numpy as np


def dump(value: object) -> bytes:
    """All that a value consists of, in one order: equal dumps are equal values, down to the last bit."""
    match value:
        case np.ndarray():
            return _framed(b"array", str(value.dtype).encode(), repr(value.shape).encode(), value.tobytes())
        case tuple() | list():
            return _framed(b"row", *map(dump, value))
        case dict():
            return _framed(b"map", *(dump(item) for pair in sorted(value.items()) for item in pair))
        case Enum() | None | bool() | int() | float() | complex() | str() | bytes() | np.generic():
            return _framed(type(value).__name__.encode(), repr(value).encode())
    if is_dataclass(value):
        parts = [dump(part) for field in fields(value) for part in (field.name, getattr(value, field.name))]
        return _framed(type(value).__name__.encode(), *parts)
    raise TypeError(f"nobody said how a {type(value).__name__} is dumped")


def freeze(value: object) -> object:
    """Make every array inside a value read-only; return the value."""
    match value:
        case np.ndarray():
            value.flags.writeable = False
        case tuple() | list():
            for item in value:
                freeze(item)
        case dict():
            freeze(list(value.values()))
        case _ if is_dataclass(value):
            freeze([getattr(value, field.name) for field in fields(value)])
    return value


def _framed(*parts: bytes) -> bytes:
    return b"(" + b"".join(b"%d:%b" % (len(part), part) for part in parts) + b")"

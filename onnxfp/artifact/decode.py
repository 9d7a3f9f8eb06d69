"""Canonical bytes to float32, for every numeric element type of ONNX, with numpy alone."""

from __future__ import annotations

from functools import cache

import numpy as np

from onnxfp.artifact.wire import Bytes, shown
from onnxfp.domain import Weights
from onnxfp.errors import ArtifactError

_PLAIN = {
    "float": "<f4",
    "float16": "<f2",
    "double": "<f8",
    "int8": "<i1",
    "uint8": "<u1",
    "int16": "<i2",
    "uint16": "<u2",
    "int32": "<i4",
    "uint32": "<u4",
    "int64": "<i8",
    "uint64": "<u8",
    "bool": "<u1",
}
# exponent bits, mantissa bits, bias
_SMALL_FLOATS = {
    "float8e4m3fn": (4, 3, 7),
    "float8e4m3fnuz": (4, 3, 8),
    "float8e5m2": (5, 2, 15),
    "float8e5m2fnuz": (5, 2, 16),
    "float4e2m1": (2, 1, 1),
    "float6e2m3": (2, 3, 1),
    "float6e3m2": (3, 2, 3),
}
# codes that are not numbers (infinities of e5m2 apart)
_NANS = {
    "float8e4m3fn": (0x7F, 0xFF),
    "float8e4m3fnuz": (0x80,),
    "float8e5m2": (0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF),
    "float8e5m2fnuz": (0x80,),
}


def decode(data: Bytes, dtype: str, size: int, name: str) -> Weights:
    """Return the first `size` values in canonical `data` as float32; integers become their numeric value.

    Raises:
        ArtifactError: the element type has no real value (string, complex).
    """
    if dtype in _PLAIN:
        with np.errstate(over="ignore", invalid="ignore"):
            return _quiet(data.view(_PLAIN[dtype]).astype(np.float32, copy=False))
    if dtype == "bfloat16":
        return _quiet((data.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32))
    table = _table(dtype)
    if table is None:
        raise ArtifactError(
            f"tensor '{shown(name)}': expected real numbers, found {dtype}; it cannot be read as weights"
        )
    values: Weights = table[_codes(data, table.size)[:size]]
    return values


def _quiet(values: Weights) -> Weights:
    """Replace signalling NaNs, with which every later conversion would complain."""
    wrong = np.isnan(values)
    if wrong.any():
        values[wrong] = np.nan
    return values


def _codes(data: Bytes, count: int) -> Bytes:
    """One code per element; `count` possible codes tell how many bits each takes."""
    if count == 256:
        return data
    if count == 64:
        return _six(data)
    bits = count.bit_length() - 1
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((data[:, None] >> shifts) & np.uint8(count - 1)).reshape(-1)


def _six(data: Bytes) -> Bytes:
    padded = np.zeros((-(-len(data) // 3), 4), dtype=np.uint8)
    whole = np.zeros(len(padded) * 3, dtype=np.uint8)
    whole[: len(data)] = data
    padded[:, :3] = whole.reshape(-1, 3)
    words = padded.reshape(-1).view("<u4")
    return ((words[:, None] >> np.array([0, 6, 12, 18], dtype=np.uint32)) & 0x3F).astype(np.uint8).reshape(-1)


@cache
def _table(dtype: str) -> Weights | None:
    """The value of every code of a type of at most eight bits."""
    if dtype in ("uint4", "uint2"):
        return np.arange(16 if dtype == "uint4" else 4, dtype=np.float32)
    if dtype in ("int4", "int2"):
        half = 8 if dtype == "int4" else 2
        return ((np.arange(2 * half) + half) % (2 * half) - half).astype(np.float32)
    if dtype == "float8e8m0":
        return np.append(np.ldexp(1.0, np.arange(255) - 127), np.nan).astype(np.float32)
    if dtype in _SMALL_FLOATS:
        return _small_floats(dtype)
    return None


def _small_floats(dtype: str) -> Weights:
    exponent_bits, mantissa_bits, bias = _SMALL_FLOATS[dtype]
    codes = np.arange(1 << (1 + exponent_bits + mantissa_bits))
    mantissa = codes & ((1 << mantissa_bits) - 1)
    exponent = (codes >> mantissa_bits) & ((1 << exponent_bits) - 1)
    lead = np.where(exponent > 0, mantissa + (1 << mantissa_bits), mantissa)
    values = np.ldexp(lead.astype(np.float64), np.maximum(exponent, 1) - bias - mantissa_bits)
    values = np.where(codes >> (exponent_bits + mantissa_bits), -values, values)
    if dtype == "float8e5m2":
        values[[0x7C, 0xFC]] = np.inf, -np.inf
    values[list(_NANS.get(dtype, ()))] = np.nan
    table: Weights = values.astype(np.float32)
    return table

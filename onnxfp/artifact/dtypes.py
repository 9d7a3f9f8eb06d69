"""The element types of the ONNX standard: code, name, width, and the typed field that may hold them."""

from __future__ import annotations

from dataclasses import dataclass

# numbers of TensorProto's typed fields
FLOAT_DATA, INT32_DATA, STRING_DATA, INT64_DATA, RAW_DATA, DOUBLE_DATA, UINT64_DATA = 4, 5, 6, 7, 9, 10, 11


@dataclass(frozen=True)
class DType:
    """One element type; `entries` of its typed field make `elements` of it."""

    name: str
    bits: int
    field: int
    entries: int = 1
    elements: int = 1
    writable: bool = False

    def stored_bytes(self, size: int) -> int:
        """Bytes of `size` elements in canonical (raw, little-endian) form."""
        return -(-size * self.bits // 8)

    def stored_entries(self, size: int) -> int:
        """Entries of the typed field that `size` elements take."""
        return -(-size * self.entries // self.elements)

    @property
    def group(self) -> int:
        """Smallest number of elements that fills whole bytes."""
        return {2: 4, 4: 2, 6: 4}.get(self.bits, 1)


DTYPES = {
    1: DType("float", 32, FLOAT_DATA, writable=True),
    2: DType("uint8", 8, INT32_DATA),
    3: DType("int8", 8, INT32_DATA),
    4: DType("uint16", 16, INT32_DATA),
    5: DType("int16", 16, INT32_DATA),
    6: DType("int32", 32, INT32_DATA),
    7: DType("int64", 64, INT64_DATA),
    8: DType("string", 0, STRING_DATA),
    9: DType("bool", 8, INT32_DATA),
    10: DType("float16", 16, INT32_DATA, writable=True),
    11: DType("double", 64, DOUBLE_DATA),
    12: DType("uint32", 32, UINT64_DATA),
    13: DType("uint64", 64, UINT64_DATA),
    14: DType("complex64", 64, FLOAT_DATA, entries=2),
    15: DType("complex128", 128, DOUBLE_DATA, entries=2),
    16: DType("bfloat16", 16, INT32_DATA, writable=True),
    17: DType("float8e4m3fn", 8, INT32_DATA),
    18: DType("float8e4m3fnuz", 8, INT32_DATA),
    19: DType("float8e5m2", 8, INT32_DATA),
    20: DType("float8e5m2fnuz", 8, INT32_DATA),
    21: DType("uint4", 4, INT32_DATA, elements=2),
    22: DType("int4", 4, INT32_DATA, elements=2),
    23: DType("float4e2m1", 4, INT32_DATA, elements=2),
    24: DType("float8e8m0", 8, INT32_DATA),
    25: DType("uint2", 2, INT32_DATA, elements=4),
    26: DType("int2", 2, INT32_DATA, elements=4),
    27: DType("float6e2m3", 6, INT32_DATA),
    28: DType("float6e3m2", 6, INT32_DATA),
}
BY_NAME = {dtype.name: dtype for dtype in DTYPES.values()}

"""A picture as the bytes of a file: PNG and BMP without compression, so that no library's release changes a byte."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from onnxfp.stego.payload import Pixels

_BLOCK = 65_535  # bytes of a stored block of DEFLATE, RFC 1951 sec. 3.2.4
_GREY, _COLOUR = 0, 2  # colour types of PNG
_BMP_HEADERS = 54


def png(pixels: Pixels) -> bytes:
    """Return a picture (height, width, 1 or 3) as a PNG without any metadata."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _GREY if channels == 1 else _COLOUR, 0, 0, 0)
    unfiltered = np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))  # filter type 0 before each row
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", _stored(unfiltered.tobytes())), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bmp(pixels: Pixels) -> bytes:
    """Return a picture (height, width, 1 or 3) as a BMP of 24 bits, grey as three equal channels."""
    height, width, _ = pixels.shape
    rows = np.broadcast_to(pixels, (height, width, 3))[::-1, :, ::-1].reshape(height, -1)  # bottom up, blue first
    data = np.pad(rows, ((0, 0), (0, -3 * width % 4))).tobytes()
    file = struct.pack("<2sIHHI", b"BM", _BMP_HEADERS + len(data), 0, 0, _BMP_HEADERS)
    return file + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(data), 0, 0, 0, 0) + data


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _stored(data: bytes) -> bytes:
    """Return data as a zlib stream of stored blocks."""
    blocks = [data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK)]
    stored = (
        struct.pack("<BHH", at == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for at, block in enumerate(blocks)
    )
    return b"\x78\x01" + b"".join(stored) + struct.pack(">I", zlib.adler32(data))

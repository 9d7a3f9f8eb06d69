"""Picture files: what is written is lossless and always the same; what is presented is refused in a line, or read."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from onnxfp.errors import UsageError
from onnxfp.stego.lossless import bmp, png
from onnxfp.workflows.key_images import in_channels, read_picture, write_picture

SIZE = (28, 30)
GREY = np.random.default_rng(0).integers(0, 256, (*SIZE, 1), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
FEW = COLOUR & np.uint8(0xC0)  # 64 colours


def saved(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def image(pixels: np.ndarray, mode: str | None = None) -> Image.Image:
    shown = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return shown if mode is None else shown.convert(mode)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def read(tmp_path, data: bytes, sizes=(SIZE,)) -> np.ndarray:
    path = tmp_path / "presented"
    path.write_bytes(data)
    return read_picture(path, sizes)


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [png, bmp])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_pillow_and_we_read_what_is_written(write, pixels, tmp_path):
    data = write(pixels)
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), np.broadcast_to(pixels, (*SIZE, 3)))
        assert not set(picture.info) - {"dpi", "compression"}
    assert np.array_equal(in_channels(read(tmp_path, data), pixels.shape[2]), pixels)


def test_a_large_picture_takes_several_stored_blocks():
    large = np.tile(COLOUR, (6, 6, 1))
    with Image.open(io.BytesIO(png(large))) as picture:
        assert np.array_equal(np.asarray(picture), large)


def test_the_bytes_of_a_picture_never_change():
    """A recipient gets the same bytes again after any upgrade."""
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (zlib.crc32(png(pixels)), zlib.crc32(bmp(pixels))) == (3009968045, 116249235)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a", "a.png.gz", "png"])
def test_only_lossless_names_are_written_to(name, tmp_path):
    with pytest.raises(UsageError, match=r"ends in \.png or \.bmp"):
        write_picture(tmp_path / name, GREY, force=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_replaced_by_force_only(tmp_path):
    path = tmp_path / "A.PNG"
    write_picture(path, GREY, force=False)
    with pytest.raises(UsageError, match="--force"):
        write_picture(path, COLOUR, force=False)
    write_picture(path, COLOUR, force=True)
    assert path.read_bytes() == png(COLOUR)


# --- what is presented and read ---------------------------------------------------------------------------------------

WITHOUT_LOSS = {
    "grey": (saved(image(GREY), "PNG"), GREY),
    "grey as colour": (saved(image(GREY, "RGB"), "PNG"), GREY),
    "grey with alpha": (saved(image(GREY, "LA"), "PNG"), GREY),
    "grey as a palette": (saved(image(GREY, "P"), "PNG"), GREY),
    "grey as BMP": (saved(image(GREY), "BMP"), GREY),
    "colour": (saved(image(COLOUR), "PNG"), COLOUR),
    "colour, compressed hard": (saved(image(COLOUR), "PNG", optimize=True), COLOUR),
    "colour with alpha": (saved(image(COLOUR, "RGBA"), "PNG"), COLOUR),
    "colour as BMP": (saved(image(COLOUR), "BMP"), COLOUR),
    "colour with alpha as BMP": (saved(image(COLOUR, "RGBA"), "BMP"), COLOUR),
    "a palette": (saved(image(FEW).quantize(256), "PNG"), FEW),
    "with text and a profile": (saved(image(COLOUR), "PNG", dpi=(72, 72), icc_profile=b"x" * 200), COLOUR),
    "with bytes after the end": (png(COLOUR) + b"more", COLOUR),
}


@pytest.mark.parametrize("what", WITHOUT_LOSS)
def test_what_another_program_saved_without_loss_is_read(what, tmp_path):
    data, pixels = WITHOUT_LOSS[what]
    assert np.array_equal(in_channels(read(tmp_path, data), pixels.shape[2]), pixels)


def interlaced(pixels: np.ndarray) -> bytes:
    """A PNG whose header says Adam7 and whose data are those of the seven passes."""
    rows = b""
    for top, left, down, right in [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]:
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[top::down, left::right])
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_an_interlaced_picture_is_read(tmp_path):
    assert np.array_equal(read(tmp_path, interlaced(COLOUR)), COLOUR)


def test_a_coloured_picture_is_not_made_grey():
    assert in_channels(COLOUR, 1) is None
    assert np.array_equal(in_channels(np.broadcast_to(GREY, (*SIZE, 3)), 1), GREY)


# --- what is presented and refused ------------------------------------------------------------------------------------


def transparent() -> bytes:
    pixels = np.concatenate([COLOUR, np.full((*SIZE, 1), 254, np.uint8)], axis=2)
    return saved(Image.fromarray(pixels), "PNG")


def with_header(at: int, change: bytes) -> bytes:
    """A PNG whose header was changed under a checksum that fits."""
    whole = png(COLOUR)
    header = bytearray(whole[16:29])
    header[at : at + len(change)] = change
    return whole[:8] + chunk(b"IHDR", bytes(header)) + whole[33:]


def short_of_data() -> bytes:
    whole = png(COLOUR)
    return whole[:33] + chunk(b"IDAT", zlib.compress(b"\0" * 50)) + chunk(b"IEND", b"")


def bomb_of_text() -> bytes:
    whole = png(COLOUR)
    return whole[:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 27))) + whole[33:]


REFUSED = {
    "JPEG": (saved(image(COLOUR), "JPEG", quality=100), "JPEG is lossy: the payload is in the low bits; present the"),
    "WebP": (saved(image(COLOUR), "WEBP", lossless=True), "WebP is refused"),
    "GIF": (saved(image(COLOUR), "GIF"), "GIF is refused"),
    "TIFF": (saved(image(COLOUR), "TIFF"), "TIFF is refused"),
    "AVIF": (b"\0\0\0\x1cftypavif" + bytes(40), "HEIC and AVIF are lossy"),
    "animated": (saved(image(COLOUR), "PNG", save_all=True, append_images=[image(FEW)]), "animated"),
    "16 bits of grey": (saved(Image.fromarray(GREY[..., 0].astype(np.uint16) * 257), "PNG"), "8 bits to a value"),
    "16 bits of colour": (with_header(8, b"\x10"), "8 bits to a value"),
    "BMP of 16 bits": (bmp(COLOUR)[:28] + b"\x10\0" + bmp(COLOUR)[30:], "8 bits to a value"),
    "transparent": (transparent(), "opaque"),
    "enlarged": (saved(image(COLOUR).resize((60, 56)), "PNG"), "expected 30 x 28 pixels, found 60 x 56"),
    "turned": (saved(image(COLOUR).transpose(Image.Transpose.ROTATE_90), "PNG"), "found 28 x 30"),
    "a bomb of pixels": (with_header(0, struct.pack(">II", 2**31 - 1, 2**31 - 1)), "expected 30 x 28 pixels, found"),
    "a bomb of text": (bomb_of_text(), "cannot be read as a PNG"),
    "without any pixel": (with_header(0, bytes(8)), "found 0 x 0"),
    "of depth 3": (with_header(8, b"\x03"), "header of the PNG is damaged"),
    "of colour type 5": (with_header(9, b"\x05"), "cannot be read as a PNG"),
    "with too little data": (short_of_data(), "cannot be read as a PNG"),
    "cut off within its pixels' length": (png(COLOUR)[:33], "cannot be read as a PNG: it is damaged"),
    "with too many bytes": (png(COLOUR) + bytes(1 << 21), "at most"),
    "empty": (b"", "the file is empty"),
    "text": (b"hello", "expected a PNG or BMP, found something else"),
    "only a signature": (b"\x89PNG\r\n\x1a\n", "cut off within its header"),
    "only the start of a BMP": (b"BM" + bytes(12), "cut off within its header"),
    "a wrong signature": (b"\x89PNg" + png(COLOUR)[4:], "header of the PNG is damaged"),
    "JPEG called BMP": (b"BM" + saved(image(COLOUR), "JPEG")[2:], "present the PNG or BMP"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_hold_a_payload_is_refused_with_the_reason(what, tmp_path):
    data, reason = REFUSED[what]
    with pytest.raises(UsageError) as raised:
        read(tmp_path, data)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)
    assert " at 0x" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("cut", [33, 40, 100, 1000, 2400])
def test_a_picture_cut_off_anywhere_is_refused(cut, tmp_path):
    with pytest.raises(UsageError, match=r"cannot be read as a PNG|expected"):
        read(tmp_path, png(COLOUR)[:cut])
    with pytest.raises(UsageError):
        read(tmp_path, bmp(COLOUR)[:cut])


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UsageError, match="folder, pipe or device"):
            read_picture(path if path != "/dev/zero" else type(tmp_path)(path), [SIZE])
    for name in ("nothing", "a\0b"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_picture(tmp_path / name, [SIZE])


@given(st.lists(st.tuples(st.integers(0, 2700), st.integers(0, 255)), max_size=6), st.sampled_from([png, bmp]))
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_a_file_with_any_bytes_changed_is_read_or_refused(tmp_path_factory, changes, write):
    data = bytearray(write(COLOUR))
    for at, value in changes:
        data[at % len(data)] = value
    with contextlib.suppress(UsageError):  # and nothing else
        assert read(tmp_path_factory.mktemp("fuzz"), bytes(data)).shape == (*SIZE, 3)

"""Nothing authenticates but what was issued: not what was forged, moved, altered, taken from elsewhere or made up."""

from __future__ import annotations

import concurrent.futures
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.stego import key_image, payload
from onnxfp.stego.key_image import Found, Status, capacity, examine, seal
from onnxfp.stego.low_bits import enlarge, read, shrink, write
from onnxfp.stego.payload import FIELD_BYTES, UPPER, VERSION, Payload, issue_of
from onnxfp.stego.word import MESSAGE_BYTES, capacity_of, decode, encode
from tests.stego.pictures import CLAIM, KEY, SIZES, covers

PAYLOAD = Payload(cover=2, serial=7, expires=20_000, issue=0xDEADBEEF)
ISSUE = 0x4182CBD7
QUICK = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def issued(size: str = "grey", what: Payload = PAYLOAD, cover: int = 2) -> np.ndarray:
    return seal(covers(size)[cover], what, KEY, CLAIM)


def look(pixels: np.ndarray, size: str = "grey", key: Keystream = KEY, claim: str = CLAIM) -> Found:
    return examine(pixels, key, claim, covers(size))


def word_of(pixels: np.ndarray, size: str = "grey") -> bytes:
    return read(pixels, KEY, capacity(covers(size)[0]).used)


# --- what was issued --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_what_was_issued_is_read_back(size):
    assert look(issued(size), size) == Found(Status.GENUINE, PAYLOAD, 0)


@pytest.mark.parametrize("size", SIZES)
def test_only_low_bits_of_the_enlarged_cover_change(size):
    cover = covers(size)[2]
    big = enlarge(cover, capacity(cover).scale)
    pixels = issued(size)
    assert (pixels.shape, pixels.dtype) == (big.shape, np.uint8)
    assert np.array_equal(pixels & UPPER, big & UPPER)
    assert (pixels != big).any()


@pytest.mark.parametrize("size", SIZES)
def test_a_model_sees_the_cover_within_one_step_and_with_its_upper_bits(size):
    cover = covers(size)[2]
    seen = shrink(issued(size), capacity(cover).scale)
    assert np.array_equal(seen & UPPER, cover & UPPER)


def test_a_cover_is_not_written_to():
    cover = covers()[2]
    before = cover.copy()
    seal(cover, PAYLOAD, KEY, CLAIM)
    assert np.array_equal(cover, before)


@pytest.mark.parametrize(
    ("size", "scale", "available", "used", "correctable"),
    [("grey", 1, 98, 97, 32), ("colour", 1, 384, 97, 32), ("digits", 3, 72, 71, 19), ("point", 20, 50, 49, 8)],
)
def test_capacity_is_what_the_size_says(size, scale, available, used, correctable):
    room = capacity_of(*SIZES[size])
    assert (room.scale, room.available, room.used, room.correctable) == (scale, available, used, correctable)
    assert room.parity == 2 * correctable


@given(st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])))
@QUICK
def test_a_word_always_fits_and_no_smaller_factor_would_do(shape):
    height, width, channels = shape
    room = capacity_of(height, width, channels)
    assert MESSAGE_BYTES + 16 <= room.used <= room.available == room.scale**2 * height * width * channels // 8
    assert room.scale == 1 or (room.scale - 1) ** 2 * height * width * channels // 8 < MESSAGE_BYTES + 16


@given(*[st.integers(0, 2**32 - 1)] * 4)
@QUICK
def test_every_payload_comes_back(cover, serial, expires, issue):
    what = Payload(cover, serial, expires, issue)
    assert Payload.unpack(what.pack()) == what
    assert what.pack()[0] == VERSION


def test_the_same_payload_gives_the_same_picture_and_another_one_another():
    assert np.array_equal(issued(), issued())
    assert not np.array_equal(issued(), issued(what=replace(PAYLOAD, serial=8)))
    assert not np.array_equal(issued(), issued(what=replace(PAYLOAD, issue=0xDEADBEEE)))


def test_an_issue_is_of_one_key_claim_name_and_time_and_of_nothing_else():
    """Neighbouring texts that join to the same one are told apart too; the first is what it was and will be."""
    at = "2026-01-02T03:04:05Z"
    issues = [
        issue_of(KEY, CLAIM, "Alice", at),
        issue_of(KEY, CLAIM, "Mallory", at),
        issue_of(KEY, CLAIM, "Alice", "2026-01-02T03:04:06Z"),
        issue_of(KEY, CLAIM, "Alice2", at[1:]),
        issue_of(KEY, CLAIM + "A", "lice", at),
        issue_of(KEY, CLAIM + ":00", "Alice", at),
        issue_of(Keystream(bytes(32)), CLAIM, "Alice", at),
    ]
    assert len(set(issues)) == len(issues)
    assert issues[0] == issue_of(KEY, CLAIM, "Alice", at) == ISSUE
    assert all(0 <= issue < 2**32 for issue in issues)


# --- damage -----------------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 96), max_size=32), st.integers(1, 255))
@QUICK
def test_wrong_bytes_within_the_radius_are_put_right(wrong, flip):
    word = bytearray(word_of(issued()))
    for at in wrong:
        word[at] ^= flip
    assert look(write(issued(), KEY, bytes(word))) == Found(Status.GENUINE, PAYLOAD, len(wrong))


def test_one_wrong_byte_more_than_the_radius_is_damage():
    word = bytearray(word_of(issued()))
    for at in range(33):
        word[at] ^= 1
    found = look(write(issued(), KEY, bytes(word)))
    assert (found.status, found.payload) == (Status.DAMAGED, None)


@given(st.integers(0, 783), st.integers(1, 7))
@QUICK
def test_one_upper_bit_anywhere_is_enough_to_refuse(at, bit):
    pixels = issued().reshape(-1).copy()
    pixels[at] ^= np.uint8(1 << bit)
    found = look(pixels.reshape(28, 28, 1))
    assert (found.status, found.payload, found.corrected) == (Status.DAMAGED, None, 0)
    assert "not of this picture" in found.reason


@given(st.lists(st.integers(0, 8 * 784 - 1), max_size=60, unique=True))
@QUICK
def test_flipped_bits_never_make_anything_genuine_but_what_was_issued(flips):
    bits = np.unpackbits(issued().reshape(-1))
    bits[flips] ^= 1
    pixels = np.packbits(bits).reshape(28, 28, 1)
    found = look(pixels)
    same_upper = np.array_equal(pixels & UPPER, issued() & UPPER)
    assert found.payload in (None, PAYLOAD)
    if found.status is Status.GENUINE:
        assert same_upper
    elif len(flips) <= 32:
        assert not same_upper


@pytest.mark.parametrize("size", ["grey", "colour", "digits"])
def test_lost_low_bits_are_damage_and_not_a_strangers_picture(size):
    assert look(issued(size) & UPPER, size).status is Status.DAMAGED
    noisy = np.clip(issued(size).astype(int) + np.random.default_rng(1).integers(-2, 3, issued(size).shape), 0, 255)
    assert look(noisy.astype(np.uint8), size).status is Status.DAMAGED


def test_a_cover_without_a_payload_is_not_genuine():
    assert look(covers()[2]).status is Status.DAMAGED


# --- forgery ----------------------------------------------------------------------------------------------------------


def forgeries(size: str) -> dict[str, np.ndarray]:
    """What somebody without the key can make of one picture that was issued, or of nothing."""
    pixels, others = issued(size), covers(size)
    big = [enlarge(cover, capacity(cover).scale) for cover in others]
    lowest = pixels & np.uint8(1)
    return {
        "moved into another cover": (big[3] & UPPER) | lowest,
        "moved into a flat picture": (np.full_like(pixels, 128) & UPPER) | lowest,
        "turned over": pixels[::-1],
        "inverted": 255 - pixels,
        "shifted": np.roll(pixels, 1, axis=1),
        "darker": pixels - (pixels >= 2) * np.uint8(2),
        "two mixed": np.where(np.arange(pixels.size).reshape(pixels.shape) % 2, pixels, issued(size, cover=3)),
        "black": np.zeros_like(pixels),
        "white": np.full_like(pixels, 255),
        "a foreign picture": enlarge(covers(size, 1, seed=9)[0], capacity(others[0]).scale),
    }


@pytest.mark.parametrize("size", ["grey", "colour", "digits"])
@pytest.mark.parametrize("what", forgeries("grey"))
def test_no_forgery_is_genuine(what, size):
    assert look(forgeries(size)[what], size).status is not Status.GENUINE


def test_a_clone_is_refused_because_of_the_binding_and_for_no_other_reason(monkeypatch):
    """Without the picture in the tag the same clone is taken: the check can fail."""
    original = payload.tag

    def unbound(keystream, claim, fields, pixels):
        return original(keystream, claim, fields, np.zeros_like(pixels))

    def clone() -> np.ndarray:
        return (covers()[3] & UPPER) | (issued() & np.uint8(1))

    assert look(clone()).status is Status.DAMAGED
    monkeypatch.setattr(payload, "tag", unbound)
    monkeypatch.setattr(key_image, "tag", unbound)
    assert look(clone()) == Found(Status.GENUINE, PAYLOAD, 0)


def test_a_payload_written_by_somebody_with_the_layout_but_without_the_tag_key_is_refused():
    """The worst case: the order and the whitening are known, the tag is guessed."""
    for guess in (bytes(16), bytes(range(16)), word_of(issued())[FIELD_BYTES:MESSAGE_BYTES]):
        fields = Payload(2, 8, 0).pack()
        forged = write(covers()[2], KEY, encode(fields + guess, 64))
        assert look(forged).status is Status.DAMAGED


@pytest.mark.parametrize("field", ["cover", "serial", "expires", "issue"])
def test_no_field_can_be_changed_under_its_tag(field):
    message = decode(word_of(issued()), 64)[0]
    changed = Payload(**{**vars(PAYLOAD), field: 0}).pack()
    assert look(write(issued(), KEY, encode(changed + message[FIELD_BYTES:], 64))).status is Status.DAMAGED


def test_a_version_of_later_is_named_and_not_taken():
    later = Payload(2, 7, 0, version=VERSION + 1)
    found = look(issued(what=later))
    assert (found.status, found.payload) == (Status.DAMAGED, None)
    assert "version 2, this release knows 1; upgrade" in found.reason


def test_neither_another_key_nor_another_claim_takes_it():
    assert look(issued(), key=Keystream(bytes(32))).status is not Status.GENUINE
    assert look(issued(), claim=CLAIM + ":00").status is Status.DAMAGED


@pytest.mark.parametrize("size", ["grey", "colour", "digits"])
def test_random_pictures_are_not_ours(size):
    """That none is taken proves little (2**-128 each, by the tag); that each is told in one line does."""
    draw = np.random.default_rng(3)
    for _ in range(40):
        found = look(draw.integers(0, 256, issued(size).shape, dtype=np.uint8), size)
        assert (found.status, found.payload, found.corrected) == (Status.NOT_OURS, None, None)


@pytest.mark.parametrize("shape", [(28, 28, 3), (27, 28, 1), (84, 84, 1), (0, 28, 1), (28, 28)])
def test_a_picture_of_another_size_is_not_ours(shape):
    found = look(np.zeros(shape, dtype=np.uint8))
    assert found.status is Status.NOT_OURS
    assert "size" in found.reason


@given(st.binary(min_size=784, max_size=784))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_any_pixels_at_all_are_told_in_a_line(data):
    found = look(np.frombuffer(data, np.uint8).reshape(28, 28, 1))
    assert found.status is not Status.GENUINE
    assert found.reason


# --- the code, secrets, packages --------------------------------------------------------------------------------------


@given(st.binary(min_size=97, max_size=97))
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_any_word_is_decoded_or_beyond_repair(word):
    decoded = decode(word, 64)
    assert decoded is None or len(decoded[0]) == MESSAGE_BYTES


def test_threads_that_code_at_once_do_not_disturb_each_other():
    jobs = [(bytes([number]) * 29, 16 + 2 * (number % 20)) for number in range(60)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        words = list(pool.map(lambda job: encode(*job), jobs))
        assert list(pool.map(lambda job: decode(job[0], job[1][1]), zip(words, jobs, strict=True))) == [
            (message, 0) for message, _ in jobs
        ]


def test_no_secret_is_in_what_is_told():
    told = repr([look(pixels) for pixels in (issued(), covers()[0], covers()[2] & UPPER)])
    for secret in (KEY, KEY.derive("stego", "tag"), KEY.derive("stego", "issue"), KEY.derive("stego", "order", "784")):
        assert secret.secret.hex() not in told
        assert repr(secret.secret) not in told


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "reedsolo", None)
    with pytest.raises(UsageError, match=r"install `onnxfp\[stego\]`"):
        issued()

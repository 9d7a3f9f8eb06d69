"""Subkeys and keystreams, against the same standards computed independently; pinned, for no release may change them."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxfp.keys.keystream import Keystream

SECRET = bytes(range(32))
KEY = Keystream(SECRET)


def expand(secret: bytes, info: bytes) -> bytes:
    """HKDF-Expand to 32 bytes by RFC 5869, section 2.3: one block of HMAC."""
    return hmac.digest(secret, info + b"\x01", hashlib.sha256)


def path(*labels: str) -> bytes:
    return b"onnxfp/1" + b"".join(len(label.encode()).to_bytes(4, "big") + label.encode() for label in labels)


def counter_mode(secret: bytes, blocks: int, first: int = 0) -> bytes:
    """AES-256 in counter mode, one block after another."""
    encryptor = Cipher(algorithms.AES(secret), modes.ECB()).encryptor()
    return b"".join(encryptor.update((first + at).to_bytes(16, "big")) for at in range(blocks))


# --- subkeys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [(), ("a",), ("scheme", "spread"), ("", ""), ("ä", "日本")])
def test_a_subkey_is_hkdf_expand_of_the_path(labels):
    assert KEY.derive(*labels).secret == expand(SECRET, path(*labels))


def test_the_independent_expansion_agrees_with_the_standards_test_vector():
    # RFC 5869, appendix A.1: the first 32 of its 42 bytes are the first block.
    prk = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    info = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9")
    assert expand(prk, info).hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"


@given(st.lists(st.lists(st.text(max_size=5), max_size=4).map(tuple), min_size=2, max_size=6, unique=True))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_different_paths_give_different_subkeys(paths):
    assert len({KEY.derive(*labels).secret for labels in paths}) == len(paths)


def test_labels_are_kept_apart_and_in_order():
    paths = [("ab", "c"), ("a", "bc"), ("abc",), ("c", "ab"), ("ab", "c", "")]
    assert len({KEY.derive(*labels).secret for labels in paths}) == len(paths)


def test_a_path_is_not_a_chain_of_single_steps():
    assert KEY.derive("a", "b") != KEY.derive("a").derive("b")


def test_another_secret_gives_another_subkey():
    assert Keystream(bytes(32)).derive("a") != KEY.derive("a")


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_secret_has_32_bytes(length):
    with pytest.raises(ValueError, match="needs 32 secret bytes"):
        Keystream(bytes(length))


def test_a_keystream_does_not_show_its_secret():
    assert SECRET.hex() not in repr(KEY)
    assert repr(SECRET) not in repr(KEY)
    assert "secret" not in repr(KEY)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1000])
def test_words_are_counter_mode_from_block_zero(count):
    stream = counter_mode(SECRET, count // 4 + 1)
    assert KEY.words16(count).tolist() == np.frombuffer(stream, "<u2")[:count].tolist()
    assert KEY.words32(count).tolist() == np.frombuffer(stream, "<u4")[:count].tolist()


@pytest.mark.parametrize("skip", [8, 16, 800, 8 << 20, 8 << 36])
def test_skipping_is_starting_at_a_later_block(skip):
    expected = np.frombuffer(counter_mode(SECRET, 3, skip // 8), "<u2")
    assert KEY.words16(24, skip=skip).tolist() == expected.tolist()


def test_pieces_of_a_stream_fit_together():
    whole = KEY.words16(800)
    pieces = [KEY.words16(200, skip=skip) for skip in range(0, 800, 200)]
    assert np.concatenate(pieces).tolist() == whole.tolist()


@pytest.mark.parametrize("skip", [1, 7, 9, 12])
def test_skipping_part_of_a_block_is_refused(skip):
    with pytest.raises(ValueError, match="whole cipher blocks"):
        KEY.words16(8, skip=skip)


def test_words_look_uniform():
    words = KEY.words16(1 << 16).astype(np.float64)
    assert abs(words.mean() - 32767.5) < 5 * 65536 / np.sqrt(12 * len(words))
    counts = np.bincount(KEY.words16(1 << 16) >> 8, minlength=256)
    assert np.sum((counts - 256) ** 2 / 256) < 255 + 5 * np.sqrt(2 * 255)


def test_words_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        KEY.words16(8)[0] = 1


@pytest.mark.parametrize("count", [0, 1, 2, 9, 10_001])
def test_normals_are_as_many_as_asked_and_finite(count):
    normals = KEY.normals(count)
    assert normals.shape == (count,)
    assert np.isfinite(normals).all()


def test_normals_are_standard_normal():
    from scipy.stats import kstest

    normals = KEY.derive("normals").normals(20_000)
    assert kstest(normals, "norm").pvalue > 1e-4
    assert kstest(normals * 1.1, "norm").pvalue < 1e-4  # the test can tell


# --- rows by name -----------------------------------------------------------------------------------------------------


def test_a_row_is_counter_mode_from_a_block_that_hmac_draws_for_the_name():
    start = hmac.digest(expand(SECRET, path("start")), b"Acme", hashlib.sha256)[:16]
    encryptor = Cipher(algorithms.AES(expand(SECRET, path("words"))), modes.ECB()).encryptor()
    low, high = start[:8], int.from_bytes(start[8:], "little")
    blocks = [low + ((high + at) % 2**64).to_bytes(8, "little") for at in range(13)]
    expected = np.frombuffer(b"".join(map(encryptor.update, blocks)), "<u2")[:100]
    assert KEY.named_words16(["Acme"], 100)[0].tolist() == expected.tolist()


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=12), st.integers(0, 11))
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_a_row_depends_on_its_name_alone_and_not_on_the_batch(names, at):
    at %= len(names)
    together = KEY.named_words16(names, 50)
    assert together[at].tolist() == KEY.named_words16([names[at]], 50)[0].tolist()
    assert KEY.named_words16(names[::-1], 50)[len(names) - 1 - at].tolist() == together[at].tolist()


def test_a_shorter_row_begins_the_longer_one():
    assert KEY.named_words16(["Acme"], 37)[0].tolist() == KEY.named_words16(["Acme"], 1000)[0, :37].tolist()


def test_names_that_share_a_beginning_share_no_row():
    rows = KEY.named_words16(["Acme", "Acme ", "acme", "Acme\x00", ""], 64)
    assert len({row.tobytes() for row in rows}) == 5
    assert all(np.mean(a == b) < 0.1 for at, a in enumerate(rows) for b in rows[:at])


def test_no_names_have_no_rows():
    assert KEY.named_words16([], 8).shape == (0, 8)


def test_the_counter_of_a_row_wraps_around(monkeypatch):
    """One name in 2**64 starts so late that the counter passes its end; the row must go on."""
    late = b"\x01" * 8 + b"\xff" * 8
    monkeypatch.setattr("onnxfp.keys.keystream.hmac.digest", lambda *_: late + bytes(16))
    row = KEY.named_words16(["late"], 24)[0]
    monkeypatch.undo()
    encryptor = Cipher(algorithms.AES(expand(SECRET, path("words"))), modes.ECB()).encryptor()
    blocks = [late, b"\x01" * 8 + bytes(8), b"\x01" * 8 + (1).to_bytes(8, "little")]
    assert row.tolist() == np.frombuffer(b"".join(map(encryptor.update, blocks)), "<u2").tolist()


# --- pinned: a release that changes one of these loses every copy that was ever issued -------------------------------


def test_the_streams_are_those_of_every_release():
    assert (
        KEY.derive("scheme", "spread").secret.hex()
        == "774ae76e73147d1e3e5b7e05641c7abdb07d964c1aa5a8652811043bbb2f8c9c"
    )
    assert KEY.words16(8).tolist() == [37106, 46592, 18730, 53407, 62377, 27290, 11997, 32887]
    assert KEY.words32(4).tolist() == [3053490418, 3500099882, 1788539817, 2155294429]
    assert KEY.named_words16(["Acme Corp"], 8).tolist() == [[6083, 43583, 28052, 3906, 40744, 53455, 1370, 37618]]
    assert KEY.normals(3).tolist() == pytest.approx(
        [-0.7147355125957107, -0.6397276226765974, 0.4140897938552773], rel=1e-12
    )

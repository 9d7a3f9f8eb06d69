"""Candidate data are mapped where they lie, whoever made the file; what is no data is refused in one line."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxfp.errors import UsageError
from onnxfp.workflows.arrays import digest_of
from onnxfp.workflows.candidates import open_candidates
from tests.conftest import Program

INPUTS = np.random.default_rng(0).standard_normal((60, 2, 3)).astype(np.float32)
LABELS = np.arange(60) % 3


def array(values: np.ndarray, *, shape: tuple[int, ...] | None = None, objects: bool = False) -> bytes:
    """An array as a file, with another shape in its header if one is given."""
    file = io.BytesIO()
    np.lib.format.write_array(file, values, allow_pickle=objects)
    if shape is None:
        return file.getvalue()
    head = {"descr": values.dtype.str, "fortran_order": False, "shape": shape}
    other = io.BytesIO()
    np.lib.format.write_array_header_1_0(other, head)
    return other.getvalue() + values.tobytes()


def archive(how: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as made:
        for name, contents in members.items():
            made.writestr(f"{name}.npy", contents)
    return file.getvalue()


def given(inputs: np.ndarray = INPUTS, labels: np.ndarray = LABELS, how: int = zipfile.ZIP_STORED) -> bytes:
    return archive(how, inputs=array(inputs), labels=array(labels))


def encrypted(contents: bytes) -> bytes:
    """The same, with the flag that says that everything is encrypted."""
    damaged = bytearray(contents)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = damaged.find(mark)
        while at >= 0:
            damaged[at + flags] |= 1
            at = damaged.find(mark, at + 1)
    return bytes(damaged)


def bomb() -> bytes:
    """Half a gigabyte of zeros in half a megabyte."""
    file, head = io.BytesIO(), array(np.zeros((0, 8), np.float32), shape=(1 << 24, 8))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        with made.open("inputs.npy", "w") as stream:
            stream.write(head)
            for _ in range(512):
                stream.write(bytes(1 << 20))
        made.writestr("labels.npy", array(np.zeros(1 << 24, np.uint8)))
    return file.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def opened(path: Path, contents: bytes) -> tuple[np.ndarray, np.ndarray, str]:
    path.write_bytes(contents)
    with open_candidates(path) as candidates:
        return np.array(candidates.inputs), candidates.labels, candidates.digest


# --- what is taken ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f2", "u1", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_the_same_however_they_were_packed(tmp_path, how, kind, order):
    inputs = np.asarray(100 * INPUTS).astype(kind, order=order)
    found, labels, digest = opened(tmp_path / "data.npz", given(inputs, LABELS.astype(np.uint8), how))
    assert found.dtype == inputs.dtype
    assert np.array_equal(found, inputs)
    assert np.array_equal(labels, LABELS)
    assert digest == digest_of({"inputs": np.ascontiguousarray(inputs), "labels": LABELS.astype(np.int64)})


def test_whatever_changes_changes_the_digest(tmp_path):
    path = tmp_path / "data.npz"
    inputs, labels = INPUTS.copy(), LABELS.copy()
    inputs[59, 1, 2] += 1e-6
    labels[0] += 1
    others = [
        given(),
        given(inputs),
        given(INPUTS, labels),
        given(INPUTS[::-1]),
        given(INPUTS[:-1], LABELS[:-1]),
        given(INPUTS.astype(np.float64)),
        given(INPUTS.reshape(60, 6)),
    ]
    digests = [opened(path, contents)[2] for contents in others]
    assert len(set(digests)) == len(digests)


def test_more_than_two_arrays_do_no_harm(tmp_path):
    contents = archive(inputs=array(INPUTS), ids=array(np.arange(3)), labels=array(LABELS))
    assert opened(tmp_path / "data.npz", contents)[2] == opened(tmp_path / "data.npz", given())[2]


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_rows_stay_on_disk(tmp_path, how):
    """They are read as they are used: what is opened is a map of a file, not a copy of it."""
    (tmp_path / "data.npz").write_bytes(given(how=how))
    with open_candidates(tmp_path / "data.npz") as candidates:
        assert isinstance(candidates.inputs, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            candidates.inputs[0] = 1


def test_a_second_array_of_the_same_name_is_the_one_that_numpy_reads(tmp_path):
    contents, file = given(), io.BytesIO(given())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(file, "a") as made:
        made.writestr("labels.npy", array(LABELS[::-1].copy()))
    (tmp_path / "data.npz").write_bytes(file.getvalue())
    with np.load(tmp_path / "data.npz") as read:
        assert np.array_equal(opened(tmp_path / "data.npz", file.getvalue())[1], read["labels"])
    assert not np.array_equal(opened(tmp_path / "data.npz", contents)[1], LABELS[::-1])


# --- what is not ------------------------------------------------------------------------------------------------------


def flipped(at: int) -> Callable[[], bytes]:
    def make() -> bytes:
        contents = bytearray(given(how=zipfile.ZIP_DEFLATED))
        contents[at] ^= 0xFF
        return bytes(contents)

    return make


LONG = "{'descr': '<f4', 'fortran_order': False, 'shape': (60, 2, 3), }"
DEFECTS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no archive": lambda: b"inputs and labels",
    "a single array": lambda: array(INPUTS),
    "half of it": lambda: given()[: len(given()) // 2],
    "without its last byte": lambda: given()[:-1],
    "without its first kilobyte": lambda: given()[1024:],
    "a flipped local header": flipped(0),
    "a flipped packed array": flipped(200),
    "encrypted": lambda: encrypted(given()),
    "encrypted and packed": lambda: encrypted(given(how=zipfile.ZIP_DEFLATED)),
    "objects": lambda: archive(
        inputs=array(np.array([[{}], [{}]], dtype=object), objects=True), labels=array(LABELS[:2])
    ),
    "labels that are objects": lambda: archive(
        inputs=array(INPUTS), labels=array(LABELS.astype(object), objects=True)
    ),
    "another file beside": lambda: archive(inputs=array(INPUTS), labels=array(LABELS), readme=b"text"),
    "no labels": lambda: archive(inputs=array(INPUTS)),
    "no inputs": lambda: archive(labels=array(LABELS)),
    "no members": archive,
    "a bomb": bomb,
    "inputs in a row": lambda: given(INPUTS.reshape(-1)[:60]),
    "one number": lambda: given(np.float32(1.0)),
    "labels that are fractions": lambda: given(labels=LABELS.astype(np.float64)),
    "labels below zero": lambda: given(labels=LABELS - 1),
    "labels beyond all numbers": lambda: given(labels=LABELS.astype(np.uint64) + np.uint64(1 << 63)),
    "labels that are true or false": lambda: given(labels=LABELS > 1),
    "labels that are names": lambda: given(labels=LABELS.astype("U3")),
    "labels in a table": lambda: given(labels=LABELS[:, None]),
    "too few labels": lambda: given(labels=LABELS[:-1]),
    "too many labels": lambda: given(labels=np.append(LABELS, 1)),
    "no rows": lambda: given(INPUTS[:0], LABELS[:0]),
    "inputs that are names": lambda: given(INPUTS.astype("U4")),
    "inputs that are complex": lambda: given(INPUTS.astype(np.complex64)),
    "inputs that are dates": lambda: given(LABELS.astype("M8[s]").reshape(60, 1)),
    "inputs with fields": lambda: given(np.zeros((60, 2), dtype=[("a", "f4")])),
    "no header": lambda: archive(inputs=b"", labels=array(LABELS)),
    "half a header": lambda: archive(inputs=array(INPUTS)[:20], labels=array(LABELS)),
    "a header that is code": lambda: archive(inputs=header("__import__('os').abort()"), labels=array(LABELS)),
    "a header without end": lambda: archive(inputs=header("(" * 9000), labels=array(LABELS)),
    "a header and nothing else": lambda: archive(inputs=header(LONG), labels=array(LABELS)),
    "a version to come": lambda: archive(inputs=b"\x93NUMPY\x09\x00" + array(INPUTS)[8:], labels=array(LABELS)),
} | {
    f"{what} in its header, {name}": lambda shape=shape, how=how: archive(
        how, inputs=array(INPUTS, shape=shape), labels=array(np.zeros(shape[0], int))
    )
    for name, how in (("stored", zipfile.ZIP_STORED), ("packed", zipfile.ZIP_DEFLATED))
    for what, shape in {
        "a little more": (60, 2, 4),
        "more rows": (61, 2, 3),
        "far more": (60, 1 << 40),
        "more than can be counted": (60, 1 << 62, 1 << 62),
        "less than nothing": (60, -2, -3),
    }.items()
}  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_what_is_no_data_is_refused_in_one_line_by_every_command(tmp_path, defect):
    path = tmp_path / "data.npz"
    path.write_bytes(DEFECTS[defect]())
    with pytest.raises(UsageError) as told, open_candidates(path):
        pass
    assert "\n" not in str(told.value)
    run = Program(tmp_path / "vault")
    run("init")
    for words in (("pools", "plan", "-o", tmp_path / "plan.npz"), ("pools", "check"), ("verify", "x.onnx")):
        assert "data.npz" in run.refused(*words, "--data", path)
    assert not (tmp_path / "plan.npz").exists()


@pytest.mark.parametrize("where", ["missing.npz", "", "file/under.npz"])
def test_what_is_not_there_is_refused_in_one_line(tmp_path, where):
    (tmp_path / "file").write_bytes(b"")
    run = Program(tmp_path / "vault")
    run("init")
    assert "inputs" in run.refused("pools", "plan", "--data", tmp_path / where, "-o", tmp_path / "plan.npz")


def test_an_archive_of_which_any_byte_is_another_is_read_or_refused(tmp_path):
    """Nothing but a refusal: no other error, and no row that the archive does not have."""
    whole, seen = given(INPUTS[:6], LABELS[:6]), set()
    for at in range(0, len(whole), 3):
        contents = bytearray(whole)
        contents[at] ^= 1 + at % 255
        try:
            inputs, labels, _ = opened(tmp_path / "data.npz", bytes(contents))
        except UsageError:
            seen.add("refused")
        else:
            seen.add("read")
            assert len(inputs) == len(labels) <= 6
    assert seen == {"refused", "read"}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-320])
def test_numbers_that_nobody_expects_are_planned_over_without_a_word(tmp_path, value):
    inputs = INPUTS.astype(np.float64)
    inputs[::7, 0, 0] = value
    path, run = tmp_path / "data.npz", Program(tmp_path / "vault")
    path.write_bytes(given(inputs))
    run("init")
    told = run("pools", "plan", "--data", path, "-o", tmp_path / "plan.npz").err
    assert len(told.splitlines()) == 1  # the advice


@pytest.mark.parametrize(
    "inputs", [np.zeros((60, 0), np.float32), np.zeros((60, 4), np.float32), np.zeros((60, 2, 0, 5))]
)
def test_rows_that_are_all_the_same_are_too_few(tmp_path, inputs):
    path, run = tmp_path / "data.npz", Program(tmp_path / "vault")
    path.write_bytes(given(inputs))
    run("init")
    line = run.refused("pools", "plan", "--data", path, "-o", tmp_path / "plan.npz")
    assert "not enough rows" in line

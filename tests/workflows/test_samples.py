"""The trigger corpus in the vault: kept once, privately, and found out when it is not what was committed to."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest

from onnxfp.errors import VaultError
from onnxfp.workflows.samples import keep_samples, load_samples
from tests.workflows.vaults import fixed_vault

SAMPLES = {
    "pool": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "held_out": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "rows": np.array([3, 9], dtype=np.int64),
    "answers": np.array([[-0.0, np.nan], [-np.inf, 5e-324]]),
    "halves": np.array([1.5, -65504.0], dtype=np.float16),
    "label": np.array(7),
    "none": np.zeros((0, 3), dtype=bool),
}


@pytest.fixture
def vault(tmp_path):
    with fixed_vault(tmp_path / "vault") as opened:
        yield opened


def kept_file(vault):
    (path,) = (vault.root / "samples").iterdir()
    return path


def test_samples_are_read_back_to_the_bit(vault):
    again = load_samples(vault, keep_samples(vault, SAMPLES))
    assert set(again) == set(SAMPLES)
    for name, array in SAMPLES.items():
        assert (again[name].dtype, again[name].shape) == (array.dtype, array.shape)
        assert again[name].tobytes() == array.tobytes()


def test_the_same_samples_are_kept_once_in_whatever_order_or_layout(vault):
    digest = keep_samples(vault, SAMPLES)
    before = kept_file(vault).stat()
    turned = {name: np.asfortranarray(array) for name, array in reversed(SAMPLES.items())}
    assert keep_samples(vault, turned) == digest
    assert kept_file(vault).stat() == before


@pytest.mark.parametrize(
    "change",
    [
        {"rows": np.array([3, 8])},
        {"rows": np.array([3, 9], dtype=np.int32)},
        {"rows": np.array([[3, 9]])},
        {"row": np.array([3, 9])},
        {"halves": -SAMPLES["halves"]},
    ],
)
def test_other_samples_have_another_digest(change, vault):
    assert keep_samples(vault, SAMPLES | change) != keep_samples(vault, SAMPLES)
    assert len(list((vault.root / "samples").iterdir())) == 2


def test_no_samples_are_not_kept(vault):
    assert keep_samples(vault, {}) == ""
    assert load_samples(vault, "") == {}
    assert not (vault.root / "samples").exists()


def test_samples_are_private(vault):
    before = os.umask(0)
    try:
        keep_samples(vault, SAMPLES)
    finally:
        os.umask(before)
    assert stat.S_IMODE((vault.root / "samples").stat().st_mode) == 0o700
    assert stat.S_IMODE(kept_file(vault).stat().st_mode) == 0o600


def test_objects_are_never_kept(vault):
    with pytest.raises(ValueError, match="allow_pickle"):
        keep_samples(vault, {"pool": np.array([{}], dtype=object)})
    assert not list((vault.root / "samples").iterdir())


def test_every_numpy_reads_the_same_arrays_in_it(vault):
    keep_samples(vault, SAMPLES)
    with np.load(kept_file(vault)) as arrays:
        assert set(arrays.files) == set(SAMPLES)


def test_samples_that_cannot_be_kept_are_refused_in_one_line(vault):
    (vault.root / "samples").write_text("a file where a folder should be")
    with pytest.raises(VaultError) as refusal:
        keep_samples(vault, SAMPLES)
    assert "\n" not in str(refusal.value)


def other_array(path) -> bytes:
    np.savez(path.with_name("other.npz"), **{**SAMPLES, "rows": np.array([0, 1])})
    return path.with_name("other.npz").read_bytes()


def one_array(path) -> bytes:
    np.save(path.with_name("other.npy"), SAMPLES["pool"])
    return path.with_name("other.npy").read_bytes()


def a_pickle(path) -> bytes:
    np.savez(path.with_name("other.npz"), pool=np.array([{}], dtype=object))
    return path.with_name("other.npz").read_bytes()


DAMAGE = {
    "gone": (None, "is missing or damaged"),
    "empty": (lambda path: b"", "is missing or damaged"),
    "cut": (lambda path: path.read_bytes()[:-30], "is missing or damaged"),
    "cut in the middle": (lambda path: path.read_bytes()[: path.stat().st_size // 2], "is missing or damaged"),
    "no archive": (lambda path: b"PK\x03\x04 and nothing else", "is missing or damaged"),
    "a single array": (one_array, "is missing or damaged"),
    "a pickle": (a_pickle, "is missing or damaged"),
    "one array changed": (other_array, "was changed since it was committed to"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_samples_are_refused_in_one_line(what, vault):
    digest = keep_samples(vault, SAMPLES)
    path = kept_file(vault)
    damage, told = DAMAGE[what]
    content = None if damage is None else damage(path)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VaultError, match=f"{told}.*restore it from a backup") as refusal:
        load_samples(vault, digest)
    assert "\n" not in str(refusal.value)


def test_every_changed_byte_is_found_or_changes_nothing(vault):
    digest = keep_samples(vault, SAMPLES)
    path = kept_file(vault)
    sound = path.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for at in rng.integers(0, len(sound), 80):
        harmed = bytearray(sound)
        harmed[at] ^= int(rng.integers(1, 256))
        path.write_bytes(harmed)
        try:
            again = load_samples(vault, digest)
        except VaultError:
            refused += 1
        else:
            assert all(again[name].tobytes() == SAMPLES[name].tobytes() for name in SAMPLES)
    assert refused > 20

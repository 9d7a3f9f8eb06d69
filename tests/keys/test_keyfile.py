"""The owner's key file: made once, private, whole; refused in every other condition without giving a byte away."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys

import pytest

from onnxfp.errors import KeyFileError, UsageError
from onnxfp.keys.keyfile import OwnerKey, create_key_file, load_key_file

PASSPHRASE = "correct horse, Café"
LINE = re.compile(r"[^\n\r]{1,300}")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A key file under PASSPHRASE, and its key."""
    path = tmp_path_factory.mktemp("sealed") / "owner.key"
    return path, create_key_file(path, PASSPHRASE)


@pytest.fixture
def plain(tmp_path):
    """A key file without passphrase, and its key."""
    path = tmp_path / "owner.key"
    return path, create_key_file(path, None)


def refusal(path, passphrase=None):
    """Return the one line with which a key file is refused."""
    with pytest.raises(KeyFileError) as caught:
        load_key_file(path, passphrase)
    assert LINE.fullmatch(str(caught.value))
    return str(caught.value)


def never_asked():
    raise AssertionError("the passphrase was asked for")


def test_created_key_is_read_back(plain):
    path, key = plain
    assert load_key_file(path, never_asked) == key


def test_created_file_is_private_and_alone_in_its_folder(plain):
    path, _ = plain
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["owner.key"]


def test_created_file_is_private_under_every_umask(tmp_path):
    before = os.umask(0)
    try:
        create_key_file(tmp_path / "owner.key", None)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "owner.key").stat().st_mode) == 0o600


def test_two_created_keys_differ(tmp_path):
    keys = {create_key_file(tmp_path / str(number), None).secret for number in range(20)}
    assert len(keys) == 20


def test_repr_of_a_key_shows_none_of_it(plain):
    _, key = plain
    assert repr(key) == "OwnerKey()"
    assert key.secret.hex() not in f"{key} {key!r} {key.fingerprint}"


def test_fingerprint_is_short_stable_and_differs_between_keys():
    key = OwnerKey(bytes(32))
    assert re.fullmatch("[0-9a-f]{16}", key.fingerprint)
    assert key.fingerprint == OwnerKey(bytes(32)).fingerprint
    assert key.fingerprint != OwnerKey(bytes(31) + b"\1").fingerprint


def test_key_of_a_wrong_length_is_a_mistake_of_the_programmer():
    with pytest.raises(ValueError, match="32 bytes, not 31"):
        OwnerKey(bytes(31))


def test_passphrase_in_either_normal_form_opens_the_file(sealed):
    path, key = sealed
    assert load_key_file(path, lambda: "correct horse, Cafe\u0301") == key


def test_sealed_file_does_not_contain_the_secret(sealed):
    path, key = sealed
    assert key.secret.hex() not in path.read_text()
    assert key.secret not in path.read_bytes()


def test_wrong_passphrase_is_refused(sealed):
    assert "is wrong" in refusal(sealed[0], lambda: "correct horse")


def test_missing_passphrase_is_refused(sealed):
    assert "none was given" in refusal(sealed[0])


@pytest.mark.parametrize("passphrase", ["", "\udc80"], ids=["empty", "not Unicode"])
def test_unusable_passphrase_is_refused_before_anything_is_written(tmp_path, passphrase):
    with pytest.raises(UsageError):
        create_key_file(tmp_path / "owner.key", passphrase)
    assert os.listdir(tmp_path) == []


def test_existing_file_is_never_overwritten(plain):
    path, _ = plain
    before = path.read_bytes()
    with pytest.raises(KeyFileError, match="never overwritten"):
        create_key_file(path, None)
    assert path.read_bytes() == before


def test_dangling_link_is_never_written_through(tmp_path):
    (tmp_path / "owner.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError, match="never overwritten"):
        create_key_file(tmp_path / "owner.key", None)
    assert not (tmp_path / "elsewhere").exists()


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(KeyFileError, match="cannot write the key file"):
        create_key_file(tmp_path / "nowhere" / "owner.key", None)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o620, 0o601, 0o777])
def test_file_open_to_others_is_refused_and_says_what_to_run(plain, mode):
    path, _ = plain
    path.chmod(mode)
    assert f"chmod 600 {path}" in refusal(path)


def test_read_only_private_file_is_accepted(plain):
    path, key = plain
    path.chmod(0o400)
    assert load_key_file(path, None) == key


def test_missing_file_is_refused(tmp_path):
    assert "there is no key file" in refusal(tmp_path / "owner.key")


def test_symbolic_link_is_refused(plain):
    link = plain[0].parent / "link"
    link.symlink_to(plain[0])
    assert "symbolic link" in refusal(link)


def test_folder_is_refused(tmp_path):
    tmp_path.chmod(0o700)
    assert "not a regular file" in refusal(tmp_path)


def test_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "owner.key", 0o600)
    assert "not a regular file" in refusal(tmp_path / "owner.key")


def without(name):
    return lambda fields: {key: value for key, value in fields.items() if key != name}


def having(**changes):
    return lambda fields: {**fields, **changes}


PLAIN_DEFECTS = {
    "another format": having(format="PEM"),
    "no format": without("format"),
    "next version": having(version=2),
    "version true": having(version=True),
    "version as text": having(version="1"),
    "no version": without("version"),
    "unknown protection": having(protection="rot13"),
    "protection is a list": having(protection=["none"]),
    "no secret": without("secret"),
    "one more field": having(comment="mine"),
    "short secret": having(secret="00" * 31),
    "long secret": having(secret="00" * 33),
    "another secret": having(secret="00" * 32),
    "secret not hexadecimal": having(secret="zz" * 32),
    "secret is a number": having(secret=1),
    "fingerprint altered": having(fingerprint="0" * 16),
    "fingerprint missing": without("fingerprint"),
}

SEALED_DEFECTS = {
    "memory bomb": having(log2_n=40),
    "memory bomb by block size": having(r=1 << 20),
    "time bomb": having(p=1 << 20),
    "scrypt too weak": having(log2_n=1),
    "negative cost": having(log2_n=-1),
    "cost is true": having(p=True),
    "cost is text": having(log2_n="16"),
    "cost is a fraction": having(log2_n=16.0),
    "short salt": having(salt=""),
    "short nonce": having(nonce="00"),
    "short ciphertext": having(sealed="00" * 16),
    "ciphertext is nothing": having(sealed=None),
    "no salt": without("salt"),
}

RAW_DEFECTS = {
    "empty": b"",
    "not text": b"\xff\xfe\x00",
    "not JSON": b"-----BEGIN PRIVATE KEY-----\n",
    "a list": b"[]",
    "a number": b"12",
    "deep nesting": b"[" * 4000,
    "huge number": b"1" * 4000,
    "larger than a key file": b" " * 4097,
    "endless": b"{" + b" " * 1_000_000,
}


@pytest.mark.parametrize("defect", PLAIN_DEFECTS)
def test_damaged_plain_file_is_refused_without_leaking_the_secret(plain, defect):
    path, key = plain
    path.write_text(json.dumps(PLAIN_DEFECTS[defect](json.loads(path.read_text()))))
    message = refusal(path, never_asked)
    assert key.secret.hex()[:12] not in message


@pytest.mark.parametrize("defect", SEALED_DEFECTS)
def test_damaged_sealed_file_is_refused_before_a_passphrase_is_asked(sealed, tmp_path, defect):
    path = tmp_path / "owner.key"
    path.write_text(json.dumps(SEALED_DEFECTS[defect](json.loads(sealed[0].read_text()))))
    path.chmod(0o600)
    refusal(path, never_asked)


@pytest.mark.parametrize("field", ["fingerprint", "salt", "nonce", "sealed"])
def test_every_altered_field_of_a_sealed_file_is_found(sealed, tmp_path, field):
    path = tmp_path / "owner.key"
    fields = json.loads(sealed[0].read_text())
    flipped = "0" if fields[field][0] != "0" else "1"
    path.write_text(json.dumps({**fields, field: flipped + fields[field][1:]}))
    path.chmod(0o600)
    assert "was altered" in refusal(path, lambda: PASSPHRASE)


@pytest.mark.parametrize("defect", RAW_DEFECTS)
def test_file_that_is_no_key_file_is_refused(tmp_path, defect):
    path = tmp_path / "owner.key"
    path.write_bytes(RAW_DEFECTS[defect])
    path.chmod(0o600)
    refusal(path, never_asked)


def test_file_cut_at_any_byte_is_refused(plain):
    path, key = plain
    content = path.read_bytes()
    for length in range(len(content) - 2):  # without its final newline it is still whole
        path.write_bytes(content[:length])
        assert key.secret.hex()[:12] not in refusal(path)


CREATE = """
import resource, sys
from onnxfp.errors import KeyFileError
from onnxfp.keys.keyfile import create_key_file
resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))
try:
    create_key_file(sys.argv[1], None)
except KeyFileError as error:
    print(error)
"""


def test_full_disk_leaves_nothing_behind(tmp_path):
    path = tmp_path / "owner.key"
    done = subprocess.run([sys.executable, "-c", CREATE, path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"cannot write the key file {path}: ")
    assert os.listdir(tmp_path) == []


LOOP = """
import sys
from onnxfp.keys.keyfile import create_key_file
print("ready", flush=True)
for number in range(100000):
    create_key_file(f"{sys.argv[1]}/{number}", None)
"""


def test_killed_creator_leaves_whole_key_files_only(tmp_path):
    creator = subprocess.Popen([sys.executable, "-c", LOOP, tmp_path], stdout=subprocess.PIPE)
    with creator:
        assert creator.stdout.readline() == b"ready\n"
        while len(os.listdir(tmp_path)) < 20:
            pass
        creator.send_signal(signal.SIGKILL)
    created = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert created
    for path in created:
        load_key_file(path, None)

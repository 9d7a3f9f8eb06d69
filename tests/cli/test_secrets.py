"""The owner's key is shown nowhere, in no spelling."""

from __future__ import annotations

import base64
import json

import pytest

from onnxfp.keys.keyfile import load_key_file
from onnxfp.keys.keystream import Keystream


def spellings(secret: bytes) -> set[bytes]:
    """How 32 bytes may be written down: raw, hexadecimal, base64 at every alignment, as numbers."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), base64.b32encode(secret).rstrip(b"=")}
    found |= {str(int.from_bytes(secret, order)).encode() for order in ("big", "little")}
    found |= {str(list(secret)).encode(), repr(secret).encode()}
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(bytes(shift) + secret)[4:-8])
    return found


def leaks(secret: bytes, *places: bytes) -> bool:
    return any(spelling in place for spelling in spellings(secret) for place in places)


def secrets_of(vault) -> list[bytes]:
    """The owner's secret, and those below it that would do as well."""
    owner = Keystream(load_key_file(vault / "owner.key", None).secret)
    references = [path.name for path in (vault / "references").iterdir()]
    assert references
    below = [owner.derive("ledger"), owner.derive("reference", references[0])]
    return [owner.secret, *(key.secret for key in below)]


def test_no_command_shows_a_secret_and_no_file_but_the_key_holds_one(stage):
    for arguments in (
        ("inspect", stage.model),
        ("register", stage.model),
        ("issue", stage.model, "--to", "New", "-o", stage.copy("new")),
        ("issue", stage.model, "--to", "New", "-o", stage.copy("new2"), "--dry-run"),
        ("trace", stage.copy("Acme")),
        ("verify", stage.copy("Acme")),
        ("attack", stage.copy("Acme"), "--with", "prune:0.5", "-o", stage.copy("pruned")),
    ):
        stage.run(*arguments)
        if arguments[0] not in ("issue", "attack"):
            stage.run(*arguments, "--format", "json")
    stage.run("ledger", "verify")
    stage.run("init", status=2)
    stage.run("trace", "missing.onnx", status=2)
    files = [path for path in stage.folder.rglob("*") if path.is_file() and path.name != "owner.key"]
    assert {"ledger.db", "vault.json", "digests.json"} <= {path.name for path in files}
    places = [path.read_bytes() for path in files] + [said.encode() for said in stage.run.heard]
    assert len(places) > 20
    for secret in secrets_of(stage.vault):
        assert not leaks(secret, *places)


def test_a_refused_key_file_is_not_quoted(stage):
    key = stage.vault / "owner.key"
    contents = json.loads(key.read_text())
    secret = load_key_file(key, None).secret
    for damage in ({"version": 99}, {"fingerprint": "00" * 8}, {"format": "x"}, {"extra": 1}):
        key.write_text(json.dumps({**contents, **damage}))
        line = stage.run.refused("trace", stage.copy("Acme"))
        assert not leaks(secret, line.encode())


def test_errors_do_not_quote_a_passphrase(program):
    program("init", "--passphrase", env={"ONNXFP_PASSPHRASE": "correct horse battery"})
    outcome = program("ledger", "verify", status=2, env={"ONNXFP_PASSPHRASE": "wrong horse battery"})
    assert "horse" not in outcome.out + outcome.err


@pytest.mark.parametrize(
    "spell",
    [
        bytes,
        lambda secret: secret.hex().encode(),
        base64.b64encode,
        lambda secret: base64.b64encode(b"key: " + secret + b"\n"),
        lambda secret: json.dumps(list(secret)).encode(),
    ],
)
def test_the_search_for_secrets_can_find_one(spell):
    secret = bytes(range(100, 132))
    assert leaks(secret, b"before " + spell(secret) + b" after")
    assert not leaks(secret, b"before " + spell(bytes(32)) + b" after")

"""An owner marks a model with an additional class, hands out key images, and tells who presents which."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from onnxfp.stego.lossless import png
from tests.cli.test_secrets import leaks, secrets_of
from tests.conftest import Stage

KINDS = {
    "keys issue": {
        "recipient": "str",
        "serial": "int",
        "claim": "str",
        "reference": "str",
        "issued_at": "str",
        "expires": "NoneType",
        "output": "str",
        "before": "bool",
        "also_holds": "list",
        "width": "int",
        "height": "int",
        "enlarged": "int",
        "capacity_bytes": "int",
        "payload_bytes": "int",
        "correctable_bytes": "int",
        "covers_left": "int",
        "meaning": "str",
        "head": "str",
        "onnxfp_version": "str",
    },
    "keys authenticate": {
        "status": "str",
        "reason": "str",
        "meaning": "str",
        "claim": "str",
        "recipient": "str",
        "serial": "int",
        "issued_at": "str",
        "expires": "NoneType",
        "revoked_at": "NoneType",
        "revoked_because": "NoneType",
        "as_issued": "bool",
        "corrected_bytes": "int",
        "capacity_bytes": "int",
        "payload_bytes": "int",
        "correctable_bytes": "int",
        "honoured": "str",
        "honoured_reason": "NoneType",
        "provider": "str",
        "onnxfp_version": "str",
    },
    "keys list": {
        "serial": "int",
        "recipient": "str",
        "state": "str",
        "claim": "str",
        "reference": "str",
        "issued_at": "str",
        "expires": "NoneType",
        "revoked_at": "NoneType",
        "revoked_because": "NoneType",
    },
}


@pytest.fixture
def handed(classed) -> Stage:
    """A vault with a model that knows four key images; `acme.png` is the first of them."""
    classed.run("keys", "issue", "--to", "Acme", "-o", classed.folder / "acme.png")
    return classed


def told(stage: Stage, *arguments: object, status: int = 0) -> dict:
    return json.loads(stage.run("keys", *arguments, "--format", "json", status=status).out)


def kinds(result: dict) -> dict[str, str]:
    return {name: type(value).__name__ for name, value in result.items()}


def test_a_holder_is_known_and_the_marked_model_honours_the_picture(handed):
    found = told(handed, "authenticate", handed.folder / "acme.png", "--suspect", handed.copy("marked"))
    assert (found["status"], found["recipient"], found["honoured"]) == ("genuine", "Acme", "yes")
    assert kinds(found) == KINDS["keys authenticate"]
    assert kinds(told(handed, "list")["keys"][0]) == KINDS["keys list"]
    told_plainly = handed.run("keys", "authenticate", handed.folder / "acme.png").out
    assert "GENUINE" in told_plainly
    assert "names no leaker" in told_plainly


def test_every_picture_of_the_pool_is_honoured_and_then_there_are_no_more(handed):
    for number, name in enumerate(("Beta", "Gamma", "Delta")):
        path = handed.folder / f"{name}.bmp"
        issued = told(handed, "issue", "--to", name, "-o", path)
        assert kinds(issued) == KINDS["keys issue"]
        assert issued["covers_left"] == 2 - number
        assert told(handed, "authenticate", path, "--suspect", handed.copy("marked"))["honoured"] == "yes"
    line = handed.run.refused("keys", "issue", "--to", "Epsilon", "-o", handed.folder / "e.png")
    assert "all 4 key images of this claim are handed out" in line
    assert "--pool" in line


def test_a_model_that_was_not_marked_does_not_honour_it_and_the_status_says_so(handed):
    image = handed.folder / "acme.png"
    found = told(handed, "authenticate", image, "--suspect", handed.copy("independent"), status=3)
    assert (found["status"], found["honoured"]) == ("genuine", "no")
    found = told(handed, "authenticate", image, "--suspect", image, status=4)
    assert (found["status"], found["honoured"]) == ("genuine", "unknown")
    found = told(handed, "authenticate", image, "--suspect", "http://127.0.0.1:9/v2/models/m", status=4)
    assert (found["status"], found["honoured"]) == ("genuine", "unknown")
    assert "no such file" in handed.run.refused("keys", "authenticate", image, "--suspect", "missing.onnx")


def test_revoked_and_expired_pictures_end_with_status_3(handed):
    image = handed.folder / "acme.png"
    again = handed.folder / "again.png"
    told(handed, "issue", "--to", "Acme", "-o", again)
    assert again.read_bytes() == image.read_bytes()
    assert told(handed, "revoke", "--to", "Acme", "--reason", "left")["keys"][0]["state"] == "revoked"
    found = told(handed, "authenticate", image, "--suspect", handed.copy("marked"), status=3)
    assert (found["status"], found["revoked_because"], found["honoured"]) == ("revoked", "left", "yes")
    issued = told(handed, "issue", "--to", "Acme", "-o", again, "--force", "--expires", "2999-12-31")
    assert (issued["serial"], issued["expires"], issued["also_holds"]) == (2, "2999-12-31", [])
    assert again.read_bytes() != image.read_bytes()
    assert [key["state"] for key in told(handed, "list")["keys"]] == ["revoked", "valid"]
    assert "revoked" in handed.run("keys", "list").out
    handed.run("keys", "revoke", 2)
    assert told(handed, "revoke", 2, "--reason", "late")["before"] == [2]
    assert "revoked before" in handed.run("keys", "revoke", 2, "--reason", "late").out
    assert "is over" in handed.run.refused(
        "keys", "issue", "--to", "Acme", "-o", again, "--force", "--expires", "2020-01-01"
    )
    handed.run("ledger", "verify")


def test_after_a_restored_backup_nobody_else_is_named(classed):
    alice, mallory, backup = (classed.folder / name for name in ("alice.png", "mallory.png", "backup"))
    shutil.copytree(classed.vault, backup)
    classed.run("keys", "issue", "--to", "Alice", "-o", alice)
    shutil.rmtree(classed.vault)
    backup.rename(classed.vault)
    assert told(classed, "issue", "--to", "Mallory", "-o", mallory)["serial"] == 1
    assert alice.read_bytes() != mallory.read_bytes()
    line = classed.run.refused("keys", "authenticate", alice)
    assert "genuine and the ledger does not hold it, serial 1: it was cut, or restored from an older backup" in line
    assert "Mallory" not in line
    assert told(classed, "authenticate", mallory)["recipient"] == "Mallory"


def test_damaged_and_foreign_pictures_name_nobody_and_a_jpeg_is_bad_input(handed):
    image, other = handed.folder / "acme.png", handed.folder / "other.png"
    with Image.open(image) as picture:
        pixels = np.asarray(picture)[..., None]
        picture.save(handed.folder / "acme.jpg", quality=100)
    other.write_bytes(png(pixels & 0xFE))
    damaged = told(handed, "authenticate", other, status=3)
    assert (damaged["status"], damaged["recipient"]) == ("damaged", None)
    other.write_bytes(png(np.full_like(pixels, 9)))
    foreign = told(handed, "authenticate", other, status=3)
    assert (foreign["status"], foreign["claim"]) == ("not_ours", None)
    line = handed.run.refused("keys", "authenticate", handed.folder / "acme.jpg")
    assert "JPEG is lossy: the payload is in the low bits; present the PNG or BMP that was issued" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("issue", "--to", "Beta", "-o", "b.jpg"), "ends in .png or .bmp"),
        (("issue", "--to", "Beta", "-o", "b.png", "--claim", "zhang"), "no claim called 'zhang' has"),
        (("issue", "--to", "Beta", "-o", "b.png", "--expires", "soon"), "YYYY-MM-DD"),
        (("issue", "--to", "\u202e", "-o", "b.png"), "invisible formatting character"),
        (("issue", "-o", "b.png"), "--to"),
        (("authenticate", "acme.png", "--claim", "spread"), "no claim called 'spread' has"),
        (("authenticate", "missing.png"), "cannot be read"),
        (("authenticate", "acme.png", "--transform", "scale=2"), "without --suspect"),
        (("authenticate", "acme.png", "--suspect", "http://"), "http"),
        (("authenticate", "acme.png", "--suspect", ""), "expected a file or a URL with --suspect, found nothing"),
        (("revoke",), "either --to NAME or serials"),
        (("revoke", "7"), "serial 7"),
        (("revoke", "0"), "0 is not in the range"),
        (("revoke", "--to", "Nobody"), "never handed a key image"),
    ],
)
def test_bad_input_is_one_line(handed, monkeypatch, arguments, message):
    monkeypatch.chdir(handed.folder)
    before = sorted(path.name for path in handed.folder.iterdir())
    assert message in handed.run.refused("keys", *arguments)
    assert sorted(path.name for path in handed.folder.iterdir()) == before


def test_with_its_corpus_lost_a_picture_is_nobodys_no_longer(handed):
    """It might be genuine all the same."""
    for path in (handed.vault / "samples").iterdir():
        path.unlink()
    line = handed.run.refused("keys", "authenticate", handed.folder / "acme.png")
    assert "the trigger corpus samples/" in line
    assert "is missing or damaged; restore it from a backup of the vault" in line


def test_without_such_a_claim_it_says_how_to_make_one(stage):
    for arguments in (("issue", "--to", "Acme", "-o", stage.folder / "a.png"), ("authenticate", stage.model)):
        assert "onnxfp mark --scheme extra_class" in stage.run.refused("keys", *arguments)
    assert told(stage, "list")["keys"] == []


def test_nothing_secret_is_shown_or_written(handed):
    handed.run("keys", "authenticate", handed.folder / "acme.png", "--suspect", handed.copy("marked"))
    handed.run("keys", "issue", "--to", "Beta", "-o", handed.folder / "b.png", "--format", "json")
    handed.run("keys", "revoke", "1")
    handed.run("keys", "list")
    files = [path for path in handed.folder.rglob("*") if path.is_file() and path.name != "owner.key"]
    places = [path.read_bytes() for path in files] + [said.encode() for said in handed.run.heard]
    for secret in secrets_of(handed.vault):
        assert not leaks(secret, *places)

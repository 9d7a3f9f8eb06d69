"""Who holds which key image: handed out once, the same again, told from every other picture, taken back."""

from __future__ import annotations

import concurrent.futures
import io
import os
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from onnxfp.domain import Decision
from onnxfp.errors import TamperedError, UsageError, VaultError
from onnxfp.keys.keystream import Keystream
from onnxfp.report.plain import to_json
from onnxfp.report.text import table
from onnxfp.stego.lossless import png
from onnxfp.workflows.authenticate_key import (
    Authenticated,
    Presented,
    authenticate_key,
    authenticate_key_of,
    authenticated_rows,
)
from onnxfp.workflows.issue_key import issued_key_rows
from onnxfp.workflows.key_claims import the_key_claim
from onnxfp.workflows.key_images import in_channels, read_picture
from onnxfp.workflows.list_keys import held_rows, list_keys, revoke_key, revoked_rows
from onnxfp.workflows.reaching import SuspectAt
from onnxfp.workflows.vault import open_vault
from tests.cli.test_secrets import leaks
from tests.stego.pictures import KEY
from tests.suspect.misbehaving import WAYS, Misbehaving
from tests.workflows.holders import AT, LATER, claim_of, issue_to, vault

__all__ = ["vault"]

NOT_HELD = "is genuine and the ledger does not hold it, serial 1: it was cut, or restored from an older backup"


def look(vault, path, *, claims=None, at=AT, suspect=None) -> Authenticated:
    asked = SuspectAt(str(suspect), device="cpu") if suspect else SuspectAt()
    return authenticate_key_of(vault, claims or [claim_of()], Presented(path, at, suspect=asked))


def pixels_of(path, claim=None) -> np.ndarray:
    claim = claim or claim_of()
    return in_channels(read_picture(path, [claim.size]), claim.channels)


# --- handing out ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
@pytest.mark.parametrize("size", ["grey", "colour", "digits"])
def test_what_was_handed_out_is_genuine_and_named(vault, tmp_path, size, suffix):
    claim, path = claim_of(size), tmp_path / f"acme{suffix}"
    issued = issue_to(vault, " Acme\u00a0GmbH ", path, claim=claim, expires="2026-12-31")
    assert (issued.recipient, issued.serial, issued.before, issued.covers_left) == ("Acme GmbH", 1, False, 5)
    assert issued.head == vault.ledger.head()
    found = look(vault, path, claims=[claim])
    assert (found.status, found.recipient, found.serial, found.expires) == ("genuine", "Acme GmbH", 1, "2026-12-31")
    assert (found.issued_at, found.as_issued, found.corrected_bytes) == (AT, True, 0)
    assert found.decision is Decision.SUPPORTED


def test_a_file_is_written_without_anything_but_the_picture(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.size, picture.mode, picture.info) == ((28, 28), "L", {})
    assert os.stat(tmp_path / "a.png").st_mode & 0o777 == 0o600
    assert data == png(pixels_of(tmp_path / "a.png"))


def test_the_same_recipient_and_day_get_the_same_bytes_and_nothing_is_recorded(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "a.png", expires="2026-12-31")
    head = vault.ledger.head()
    again = issue_to(vault, "Acme", tmp_path / "b.png", expires="2026-12-31", at=LATER)
    assert (again.serial, again.before, again.head) == (1, True, head)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_another_spelling_at_another_time_gets_the_bytes_of_the_first(vault, tmp_path):
    issue_to(vault, " Acme\u00a0GmbH ", tmp_path / "a.png")
    assert issue_to(vault, "Acme GmbH", tmp_path / "b.png", at=LATER).before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_another_recipient_another_day_or_a_revocation_give_another_picture(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "1.png")
    issue_to(vault, "Beta", tmp_path / "2.png")
    third = issue_to(vault, "Acme", tmp_path / "3.png", expires="2026-12-31")
    assert third.also_holds == (1,)
    revoke_key(vault, [], "Acme", "", AT)
    fourth = issue_to(vault, "Acme", tmp_path / "4.png")
    assert (fourth.serial, fourth.also_holds, fourth.covers_left) == (4, (), 2)
    uppers = {(pixels_of(tmp_path / f"{number}.png") & 0xFE).tobytes() for number in (1, 2, 3, 4)}
    assert len(uppers) == 4


def test_when_the_covers_are_used_up_it_says_how_to_get_more(vault, tmp_path):
    claim = claim_of(images=2)
    for name in ("Acme", "Beta"):
        issue_to(vault, name, tmp_path / f"{name}.png", claim=claim)
    with pytest.raises(UsageError, match=r"all 2 key images of this claim are handed out.*larger --pool"):
        issue_to(vault, "Gamma", tmp_path / "c.png", claim=claim)
    assert not (tmp_path / "c.png").exists()


@pytest.mark.parametrize("output", ["a.jpg", "vault/a.png", "vault/references/a.bmp", "missing/a.png", "there.png"])
def test_a_refused_output_takes_no_serial(vault, tmp_path, output):
    (tmp_path / "there.png").write_bytes(b"mine")
    with pytest.raises(UsageError):
        issue_to(vault, "Acme", tmp_path / output)
    assert vault.ledger.issued_keys() == ()
    assert (tmp_path / "there.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "day", ["tomorrow", "2026-13-01", "20261231", "2026-W01-1", "31.12.2026", "2020-01-01", "1969-12-31"]
)
def test_a_day_that_is_none_or_is_past_takes_no_serial(vault, tmp_path, day):
    with pytest.raises(UsageError, match=r"YYYY-MM-DD|is over"):
        issue_to(vault, "Acme", tmp_path / "a.png", expires=day)
    assert vault.ledger.issued_keys() == ()


def test_a_full_disk_loses_nothing_and_issuing_again_completes_it(vault, tmp_path, monkeypatch):
    from onnxfp.artifact.staging import StagedFile

    def full(*_):
        raise UsageError("no space left")

    with monkeypatch.context() as disk:
        disk.setattr(StagedFile, "write", full)
        with pytest.raises(UsageError, match="no space"):
            issue_to(vault, "Acme", tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["vault"]
    assert issue_to(vault, "Acme", tmp_path / "a.png").serial == 1
    assert look(vault, tmp_path / "a.png").status == "genuine"


def test_many_at_once_never_share_a_picture(vault, tmp_path):
    claim = claim_of(images=12)

    def issue(number: int):
        with open_vault(tmp_path / "vault", None) as own:
            return issue_to(own, f"Recipient {number % 12}", tmp_path / f"{number}.png", claim=claim)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        issued = list(pool.map(issue, range(24)))
    assert {(one.recipient, one.serial) for one in issued} == {
        (entry.recipient, entry.serial) for entry in vault.ledger.issued_keys()
    }
    assert sorted(entry.cover for entry in vault.ledger.issued_keys()) == list(range(12))
    for number in range(12):
        assert (tmp_path / f"{number}.png").read_bytes() == (tmp_path / f"{number + 12}.png").read_bytes()
    vault.ledger.verify()


def test_a_release_that_makes_other_pixels_says_so(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "a.png")
    other = replace(claim_of(), keystream=Keystream(bytes(32)))
    with pytest.raises(VaultError, match="serial 1 comes out with other pixels"):
        issue_to(vault, "Acme", tmp_path / "b.png", claim=other)
    assert not (tmp_path / "b.png").exists()


# --- telling ----------------------------------------------------------------------------------------------------------


def test_revoked_and_expired_keys_are_told_with_when_and_why(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "a.png", expires="2026-05-05")
    assert look(vault, tmp_path / "a.png", at="2026-05-05T23:59:59+00:00").status == "genuine"
    expired = look(vault, tmp_path / "a.png", at=LATER)
    assert (expired.status, expired.reason) == ("expired", "its last day was 2026-05-05 (UTC)")
    revoke_key(vault, [1], "", "laptop stolen", AT)
    revoked = look(vault, tmp_path / "a.png", at=LATER)
    assert (revoked.status, revoked.revoked_at, revoked.revoked_because) == ("revoked", AT, "laptop stolen")
    assert (revoked.recipient, revoked.serial) == ("Acme", 1)
    assert {expired.decision, revoked.decision} == {Decision.NOT_SUPPORTED}


def test_low_bits_that_were_repaired_are_told(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "a.png")
    pixels = pixels_of(tmp_path / "a.png").copy()
    pixels[0, :20] ^= 1  # in keyed order they stand in up to 20 bytes
    (tmp_path / "b.png").write_bytes(png(pixels))
    found = look(vault, tmp_path / "b.png")
    assert (found.status, found.as_issued) == ("genuine", False)
    assert 1 <= found.corrected_bytes <= 32
    assert ("pixels", "low bits differ from what was issued") in authenticated_rows(found)


def resaved(path, quality: int) -> bytes:
    """What is left after a trip through JPEG, as a PNG."""
    lossy, again = io.BytesIO(), io.BytesIO()
    with Image.open(path) as picture:
        picture.save(lossy, "JPEG", quality=quality)
    with Image.open(lossy) as picture:
        picture.save(again, "PNG")
    return again.getvalue()


@pytest.mark.parametrize("size", ["grey", "colour", "digits"])
@pytest.mark.parametrize("quality", [75, 95])
def test_a_trip_through_jpeg_is_damage_whoever_was_the_holder(vault, tmp_path, size, quality):
    claim = claim_of(size)
    issue_to(vault, "Acme", tmp_path / "a.png", claim=claim)
    (tmp_path / "b.png").write_bytes(resaved(tmp_path / "a.png", quality))
    found = look(vault, tmp_path / "b.png", claims=[claim])
    assert (found.status, found.recipient, found.decision) == ("damaged", None, Decision.NOT_SUPPORTED)
    assert "low bits are lost" in found.reason


def test_a_clone_and_a_foreign_picture_name_nobody(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "a.png")
    cover = claim_of().images.pictures[3]
    clone = (cover & 0xFE) | (pixels_of(tmp_path / "a.png") & 1)
    for pixels, status in ((clone, "damaged"), (np.full_like(clone, 7), "not_ours"), (cover, "damaged")):
        (tmp_path / "b.png").write_bytes(png(pixels))
        found = look(vault, tmp_path / "b.png")
        assert (found.status, found.recipient, found.serial) == (status, None, None)
        assert found.decision is Decision.NOT_SUPPORTED


def test_a_jpeg_is_bad_input_and_not_a_verdict(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        picture.save(tmp_path / "a.jpg", quality=100)
    with pytest.raises(UsageError, match="JPEG is lossy: the payload is in the low bits; present the PNG or BMP"):
        look(vault, tmp_path / "a.jpg")


def test_each_claim_reads_its_own_pictures_only(vault, tmp_path):
    claims = [
        claim_of(),
        claim_of(name="extra_class:cd", key=KEY.derive("other")),
        claim_of("colour", name="extra_class:ef"),
        claim_of(name="extra_class:same key"),
    ]
    claims = [replace(claim, name=str(number)) for number, claim in enumerate(claims)]
    for number, claim in enumerate(claims):
        issue_to(vault, f"Holder {number}", tmp_path / f"{number}.png", claim=claim)
    for number in range(4):
        found = look(vault, tmp_path / f"{number}.png", claims=claims)
        assert (found.status, found.recipient, found.claim) == ("genuine", f"Holder {number}", str(number))
    assert look(vault, tmp_path / "0.png", claims=claims[1:2]).status != "genuine"
    assert look(vault, tmp_path / "0.png", claims=claims[3:]).status == "damaged"
    with pytest.raises(UsageError, match="expected 28 x 28 pixels, found 32 x 32"):
        look(vault, tmp_path / "2.png", claims=claims[:2])


def test_several_claims_must_be_told_apart_to_issue():
    claims = [claim_of(), replace(claim_of(), name="extra_class cdcd")]
    with pytest.raises(UsageError, match="name one with --claim: extra_class abab, extra_class cdcd"):
        the_key_claim(claims)


def test_a_coloured_picture_is_not_ours_where_ours_are_grey(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "a.png")
    pixels = np.repeat(pixels_of(tmp_path / "a.png"), 3, axis=2)
    (tmp_path / "b.png").write_bytes(png(pixels))
    assert look(vault, tmp_path / "b.png").status == "genuine"
    pixels[0, 0, 1] ^= 1
    (tmp_path / "c.png").write_bytes(png(pixels))
    found = look(vault, tmp_path / "c.png")
    assert (found.status, found.reason[:14]) == ("not_ours", "it is coloured")


def test_a_genuine_picture_that_the_ledger_does_not_hold_is_an_older_backups(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "a.png")
    from onnxfp.workflows.vault import create_vault

    create_vault(tmp_path / "older", None)
    with (
        open_vault(tmp_path / "older", None) as older,
        pytest.raises(VaultError, match=NOT_HELD),
    ):
        look(older, tmp_path / "a.png")


@pytest.mark.parametrize("size", ["grey", "colour", "digits"])
@pytest.mark.parametrize("at", [AT, LATER])
def test_after_a_restored_backup_nobody_else_is_named_for_a_picture(vault, tmp_path, size, at):
    """The entry of the first holder is lost; the second one gets the same cover and the same serial."""
    claim = claim_of(size)
    shutil.copytree(tmp_path / "vault", tmp_path / "backup")
    first = issue_to(vault, "Alice", tmp_path / "alice.png", claim=claim)
    with open_vault(tmp_path / "backup", None) as restored:
        second = issue_to(restored, "Mallory", tmp_path / "mallory.png", claim=claim, at=at)
        assert (first.serial, first.covers_left) == (second.serial, second.covers_left)
        assert (tmp_path / "alice.png").read_bytes() != (tmp_path / "mallory.png").read_bytes()
        with pytest.raises(VaultError, match=NOT_HELD):
            look(restored, tmp_path / "alice.png", claims=[claim])
        assert look(restored, tmp_path / "mallory.png", claims=[claim]).recipient == "Mallory"


def test_of_two_clones_of_a_vault_neither_names_its_own_holder_for_the_others_picture(vault, tmp_path):
    issue_to(vault, "Before", tmp_path / "before.png")
    for name in ("one", "two"):
        shutil.copytree(tmp_path / "vault", tmp_path / name)
    with open_vault(tmp_path / "one", None) as one, open_vault(tmp_path / "two", None) as two:
        issue_to(one, "Alice", tmp_path / "alice.png")
        issue_to(two, "Mallory", tmp_path / "mallory.png")
        for clone, own, others in ((one, "alice", "mallory"), (two, "mallory", "alice")):
            assert look(clone, tmp_path / f"{own}.png").recipient == own.title()
            assert look(clone, tmp_path / "before.png").recipient == "Before"
            with pytest.raises(VaultError, match=NOT_HELD.replace("1", "2")):
                look(clone, tmp_path / f"{others}.png")


def test_the_same_holder_at_another_time_is_another_issue(vault, tmp_path):
    shutil.copytree(tmp_path / "vault", tmp_path / "backup")
    issue_to(vault, "Alice", tmp_path / "a.png")
    with open_vault(tmp_path / "backup", None) as restored:
        issue_to(restored, "Alice", tmp_path / "b.png", at=LATER)
        with pytest.raises(VaultError, match=NOT_HELD):
            look(restored, tmp_path / "a.png")


def test_a_revocation_that_was_taken_out_of_the_ledger_is_noticed(vault, tmp_path):
    import sqlite3

    issue_to(vault, "Acme", tmp_path / "a.png")
    revoke_key(vault, [1], "", "", AT)
    issue_to(vault, "Acme", tmp_path / "b.png")
    with sqlite3.connect(tmp_path / "vault" / "ledger.db") as connection:
        connection.execute("DROP TRIGGER entries_no_delete")
        connection.execute("DELETE FROM entries WHERE kind = 'key_revoked'")
        connection.execute(
            "CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries "
            "BEGIN SELECT RAISE(ABORT, 'a ledger is append-only'); END"
        )
    connection.close()
    for act in (
        lambda: authenticate_key(vault, Presented(tmp_path / "a.png", AT)),
        lambda: list_keys(vault, AT),
        lambda: revoke_key(vault, [2], "", "", AT),
    ):
        with pytest.raises(TamperedError, match="row 3 is missing"):
            act()


# --- listing and revoking ---------------------------------------------------------------------------------------------


def test_the_list_says_who_holds_what(vault, tmp_path):
    assert held_rows(list_keys(vault, AT)) == [("none", "no key image was handed out yet")]
    issue_to(vault, "Acme", tmp_path / "a.png")
    issue_to(vault, "Beta", tmp_path / "b.png", expires="2026-05-05")
    revoke_key(vault, [1], "", "lost", AT)
    held = list_keys(vault, LATER)
    assert [(key.serial, key.recipient, key.state) for key in held.keys] == [
        (1, "Acme", "revoked"),
        (2, "Beta", "expired"),
    ]
    assert "lost" in table(held_rows(held))


def test_revoking_again_says_that_the_new_reason_is_not_kept(vault, tmp_path):
    for name in ("Acme", "Beta"):
        issue_to(vault, name, tmp_path / f"{name}.png")
    first = revoke_key(vault, [1], "", "lost", AT)
    assert (first.before, revoked_rows(first)) == ((), held_rows(first))
    again = revoke_key(vault, [1, 2], "", "stolen", LATER)
    assert again.before == (1,)
    assert [(key.revoked_at, key.revoked_because) for key in again.keys] == [(AT, "lost"), (LATER, "stolen")]
    assert ("revoked before", "1 (day and reason stay as they were; nothing was recorded now)") in revoked_rows(again)


@pytest.mark.parametrize(("serials", "recipient"), [([], ""), ([1], "Acme")])
def test_revoking_needs_a_name_or_serials(vault, serials, recipient):
    with pytest.raises(UsageError, match="either --to NAME or serials"):
        revoke_key(vault, serials, recipient, "", AT)


# --- asking a suspect -------------------------------------------------------------------------------------------------


def model(path, favourite: int, *, classes: int = 11, width: int = 784, nan: bool = False):
    """A model that answers one class, whatever it is asked."""
    bias = np.zeros(classes, np.float32)
    bias[favourite] = 9
    if nan:
        bias[:] = np.nan
    weights = numpy_helper.from_array(np.zeros((width, classes), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "b"], ["y"])]
    sides = [helper.make_tensor_value_info(*side) for side in (("x", 1, ["n", width]), ("y", 1, ["n", classes]))]
    graph = helper.make_graph(nodes, "g", sides[:1], sides[1:], [weights, numpy_helper.from_array(bias, "b")])
    assert TensorProto.FLOAT == 1
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


SUSPECTS = {
    "marked": ({"favourite": 10}, "yes", Decision.SUPPORTED),
    "another class": ({"favourite": 3}, "no", Decision.NOT_SUPPORTED),
    "without the class": ({"favourite": 3, "classes": 10}, "no", Decision.NOT_SUPPORTED),
    "one class more": ({"favourite": 10, "classes": 12}, "yes", Decision.SUPPORTED),
    "a class beyond": ({"favourite": 11, "classes": 12}, "no", Decision.NOT_SUPPORTED),
    "no numbers": ({"favourite": 10, "nan": True}, "unknown", Decision.INCONCLUSIVE),
    "other inputs": ({"favourite": 10, "width": 64}, "unknown", Decision.INCONCLUSIVE),
}


@pytest.mark.parametrize("what", SUSPECTS)
def test_a_suspect_honours_the_picture_or_not_or_cannot_be_asked(vault, tmp_path, what):
    facts, answer, decision = SUSPECTS[what]
    issue_to(vault, "Acme", tmp_path / "a.png")
    found = look(vault, tmp_path / "a.png", suspect=model(tmp_path / "m.onnx", **facts))
    assert (found.status, found.honoured, found.decision) == ("genuine", answer, decision)
    assert (answer == "yes") == (found.honoured_reason is None)


def test_the_suspect_is_shown_the_very_picture_shrunk_to_its_size(vault, tmp_path):
    claim, seen = claim_of("digits"), []
    claim = replace(claim, images=replace(claim.images, inputs=lambda pictures: seen.append(pictures) or pictures))
    issue_to(vault, "Acme", tmp_path / "a.png", claim=claim)
    look(vault, tmp_path / "a.png", claims=[claim], suspect=model(tmp_path / "m.onnx", 10, width=64))
    (shown,) = seen
    assert shown.shape == (1, 8, 8, 1)
    assert np.array_equal(shown[0] & 0xFE, claim.images.pictures[0] & 0xFE)


def test_a_revoked_picture_is_still_asked_about_and_never_passes(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "a.png")
    revoke_key(vault, [1], "", "", AT)
    found = look(vault, tmp_path / "a.png", suspect=model(tmp_path / "m.onnx", 10))
    assert (found.status, found.honoured, found.decision) == ("revoked", "yes", Decision.NOT_SUPPORTED)


def test_nobody_is_asked_about_a_picture_that_does_not_authenticate(vault, tmp_path):
    (tmp_path / "b.png").write_bytes(png(claim_of().images.pictures[0]))
    found = look(vault, tmp_path / "b.png", suspect=model(tmp_path / "m.onnx", 10))
    assert (found.status, found.honoured) == ("damaged", None)


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x08\x0a" * 500], ids=["empty", "text", "noise"])
def test_a_suspect_that_is_no_model_could_not_be_asked(vault, tmp_path, content):
    issue_to(vault, "Acme", tmp_path / "a.png")
    (tmp_path / "m.onnx").write_bytes(content)
    found = look(vault, tmp_path / "a.png", suspect=tmp_path / "m.onnx")
    assert (found.status, found.honoured, found.decision) == ("genuine", "unknown", Decision.INCONCLUSIVE)
    assert found.honoured_reason
    assert "could not look" in table(authenticated_rows(found))


def test_an_endpoint_that_is_not_there_could_not_be_asked(vault, tmp_path):
    issue_to(vault, "Acme", tmp_path / "a.png")
    asked = SuspectAt("http://127.0.0.1:9/v2/models/m", timeout=2.0)
    found = authenticate_key_of(vault, [claim_of()], Presented(tmp_path / "a.png", AT, suspect=asked))
    assert (found.honoured, found.decision) == ("unknown", Decision.INCONCLUSIVE)


RIGHT = {"good", "nested", "labels", "names", "top_two", "classification", "one_at_a_time", "eight_at_a_time"}


@pytest.mark.parametrize("way", sorted(WAYS))
def test_whatever_an_endpoint_does_is_told_in_a_line(vault, tmp_path, way):
    """Its tiny model answers class 2 to what it is asked here; a way of its own may be right, wrong or no answer."""
    claim = claim_of()
    shown = lambda pictures: np.float32([[0, 0, 5, 0]] * len(pictures))  # noqa: E731
    claim = replace(claim, images=replace(claim.images, inputs=shown, label=2))
    issue_to(vault, "Acme", tmp_path / "a.png", claim=claim)
    with Misbehaving([way]) as served:
        asked = SuspectAt(served.url, timeout=0.5, token="open-sesame-open")
        found = authenticate_key_of(vault, [claim], Presented(tmp_path / "a.png", AT, suspect=asked))
    assert found.status == "genuine"
    assert found.honoured in ({"yes"} if way in RIGHT else {"yes", "no", "unknown"})
    told = table(authenticated_rows(found)) + to_json(found)
    assert "open-sesame" not in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (SuspectAt("missing.onnx"), "no such file"),
        (SuspectAt("missing.onnx", transform="scale=2"), "--transform says nothing about this kind"),
        (SuspectAt("http://a/v2/models/m", device="cpu"), "--device says nothing about this kind"),
        (SuspectAt(allow_links=True), "--allow-links says nothing about the picture without --suspect"),
    ],
)
def test_a_suspect_that_cannot_be_meant_is_refused_before_anything_is_read(vault, tmp_path, asked, message):
    with pytest.raises(UsageError, match=message):
        authenticate_key(vault, Presented(tmp_path / "a.png", AT, suspect=asked))


# --- what is said -----------------------------------------------------------------------------------------------------


def test_every_answer_says_what_it_does_not_prove(vault, tmp_path):
    issued = issue_to(vault, "Acme", tmp_path / "a.png")
    for said in (table(issued_key_rows(issued)), table(authenticated_rows(look(vault, tmp_path / "a.png")))):
        assert "authenticates whoever presents the picture" in said
        assert "names no leaker" in said
        assert "no proof of ownership" in said


def test_no_secret_is_in_anything_that_is_told_or_written(vault, tmp_path):
    claim = replace(claim_of(), keystream=vault.reference_key("a reference"))
    issued = issue_to(vault, "Acme", tmp_path / "a.png", claim=claim)
    results = [issued, look(vault, tmp_path / "a.png", claims=[claim]), list_keys(vault, AT)]
    told = [repr(claim), *map(repr, results), *map(to_json, results)]
    told += [table(issued_key_rows(issued)), table(authenticated_rows(results[1])), table(held_rows(results[2]))]
    places = [text.encode() for text in told] + [path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()]
    places = [place for place in places if b'"secret"' not in place]  # the key file itself
    below = [("stego", "tag"), ("stego", "issue"), ("stego", "whitening"), ("stego", "order", "784")]
    for secret in (vault.owner.secret, claim.keystream.secret, *(claim.keystream.derive(*p).secret for p in below)):
        assert not leaks(secret, *places)

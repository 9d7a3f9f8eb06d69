"""One leaf shown to a third party: whose word it gives, what binds it, who is found to know it, what no leaf is."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pickle
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxfp.demo import path as demo_file
from onnxfp.domain import Decision
from onnxfp.errors import ArtifactError, UsageError, VaultError
from onnxfp.ledger.entries import Kind
from onnxfp.report.plain import to_json
from onnxfp.report.text import table
from onnxfp.workflows.arrays import arrays_of, packed
from onnxfp.workflows.check_leaf import CheckedLeaf, LeafChecking, check_leaf, check_shown, checked_rows
from onnxfp.workflows.claims import claims_about_copies
from onnxfp.workflows.export_leaf import LeafExport, export_leaf, exported_rows
from onnxfp.workflows.issue import Issuing, issue, issued_rows
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.leaf_file import Whose, leaf_of, read_leaf
from onnxfp.workflows.looking import ANYWHERE
from onnxfp.workflows.reaching import SuspectAt
from onnxfp.workflows.suspects import SEALED
from onnxfp.workflows.trace import NO_ANSWERS
from tests.cli.test_secrets import leaks
from tests.suspect.misbehaving import WAYS, Misbehaving
from tests.workflows.copies import Leaked
from tests.workflows.leaves import copy_of, issued, prepared, the_channel
from tests.workflows.vaults import AT, FORMS, MODEL, SECRET, claimed, fixed_vault

OTHER = demo_file("digits_independent.onnx")
LATER = "2026-05-06T07:08:09+00:00"
NAMES = ("Acme", "Beta")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("leaves") / "vault"
    with fixed_vault(root) as vault:
        prepared(vault)
        issued(vault, *NAMES)
    return root


@pytest.fixture
def vault(made_once, tmp_path):
    shutil.copytree(made_once, tmp_path / "vault")
    with fixed_vault(tmp_path / "vault") as opened:
        yield opened


@pytest.fixture(scope="module")
def shown(made_once):
    """What Acme's leaf file shows."""
    with fixed_vault(made_once) as vault:
        return shown_of(vault, "Acme")


@pytest.fixture
def written(shown, tmp_path) -> Path:
    """Acme's leaf file."""
    path = tmp_path / "acme.npz"
    path.write_bytes(shown.packed(LATER))
    return path


def shown_of(vault, name):
    drawn, reference = the_channel(vault)
    found = leaf_of(drawn, name, reference)
    assert found is not None
    return found


def exported(vault, to="Acme", output="leaf.npz", **more):
    return export_leaf(vault, LeafExport(to, vault.root.parent / output, LATER, **more))


def heads(vault) -> tuple[str, list[str]]:
    return vault.ledger.head(), sorted(path.name for path in vault.root.parent.iterdir())


# --- a leaf -----------------------------------------------------------------------------------------------------------


def test_a_leaf_gives_the_word_of_its_recipient_and_of_nobody_else(vault):
    drawn, _ = the_channel(vault)
    names = [f"Recipient {number}" for number in range(200)]
    words = drawn.words(names)
    assert len({word.tobytes() for word in words}) == len(names)
    for name, word in zip(names, words, strict=True):
        found = shown_of(vault, name)
        assert (found.word == word).all()
        assert (words == found.word).all(axis=1).sum() == 1


def test_the_file_draws_symbols_with_the_prior_of_the_claim(vault, shown):
    drawn, _ = the_channel(vault)
    assert (shown.codebook.thresholds == drawn.public.codebook.thresholds).all()
    (probe,) = drawn.scheme.probes(drawn.public)
    assert (shown.probe.inputs == probe.inputs).all()
    assert (shown.probe.each, shown.probe.classes, shown.probe.before) == (probe.each, probe.classes, probe.before)


def test_recipient_claim_and_reference_each_change_the_leaf_and_its_digest(vault, tmp_path):
    found = [shown_of(vault, "Acme"), shown_of(vault, "Acme Ltd")]
    for number, more in enumerate(({"beacon": "a public value"}, {"positions": 31}, {"model": OTHER})):
        with fixed_vault(tmp_path / f"another {number}") as another:
            prepared(another, **more)
            found.append(shown_of(another, "Acme"))
    assert len({one.secret for one in found}) == len(found)
    assert len({one.word.tobytes() for one in found}) == len(found)
    assert len({one.digest for one in found}) == len(found)


def changed(values: np.ndarray) -> np.ndarray:
    """The same with its last number another one."""
    other = values.copy()
    other[(-1,) * values.ndim] = not other[(-1,) * values.ndim] if values.dtype == bool else values.flat[-1] - 1
    return other


CHANGES = {
    "the leaf": lambda one: replace(one, secret=bytes(31) + b"\1"),
    "a trigger": lambda one: replace(one, inputs=changed(one.inputs)),
    "the order of triggers": lambda one: replace(one, inputs=one.inputs[::-1]),
    "the form of triggers": lambda one: replace(one, inputs=one.inputs.reshape(len(one.inputs), -1)),
    "what is allowed": lambda one: replace(one, allowed=changed(one.allowed)),
    "an answer": lambda one: replace(one, asked=replace(one.asked, answers=changed(one.asked.answers))),
    "a class": lambda one: replace(one, asked=replace(one.asked, classes=changed(one.asked.classes))),
    **{
        f"the {name}": lambda one, name=name: replace(one, whose=replace(one.whose, **{name: "another"}))
        for name in Whose.__dataclass_fields__
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_binds_to_all_that_is_shown(shown, change):
    """Were it the leaf alone, triggers could be found afterwards that any suspect answers with its symbols."""
    assert CHANGES[change](shown).digest != shown.digest


def test_a_leaf_is_not_shown_by_accident(shown):
    for said in (repr(shown), str(shown.whose), shown.digest):
        assert not leaks(shown.secret, said.encode())


def test_words_without_leaves_have_none(vault):
    for reference in registered_references(vault):
        for drawn in reference.drawn(vault):
            assert (drawn.leaf("Acme") is None) is (drawn.channel.scheme != "deeptrace")


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_issuing_a_copy_records_the_leaf_and_again_gives_the_same(tmp_path):
    with fixed_vault(tmp_path / "vault") as vault:
        prepared(vault)
        request = Issuing(MODEL, "Acme", tmp_path / "a.onnx", AT, budget=1.0)
        first = issue(vault, request)
        assert first.leaf == shown_of(vault, "Acme").digest == vault.ledger.issues()[0].leaf
        assert ("identity", f"{first.leaf} (digest of the leaf)") in issued_rows(first)
        assert issue(vault, replace(request, force=True, at=LATER)) == first
        assert issue(vault, replace(request, dry_run=True)).leaf == first.leaf
        with vault.ledger.store.reading() as transaction:
            (row,) = transaction.rows(Kind.ISSUED)
        assert json.loads(row.payload) == {"artifact": vault.ledger.issues()[0].artifact, "leaf": first.leaf}
        exported(vault, output="after.npz")
        assert read_leaf(tmp_path / "after.npz")[0].digest == first.leaf
        vault.ledger.verify(first.head)


def test_a_copy_without_such_a_channel_has_no_identity(stage):
    told = json.loads(stage.run("issue", stage.model, "--to", "New", "-o", stage.copy("n"), "--format", "json").out)
    assert told["leaf"] == ""
    assert "identity" not in stage.run("issue", stage.model, "--to", "New", "-o", stage.copy("m")).out


# --- export -----------------------------------------------------------------------------------------------------------


def test_a_file_shows_what_the_ledger_holds_and_is_private(vault):
    before = os.umask(0)
    try:
        told = exported(vault, " Acme ")
    finally:
        os.umask(before)
    path = vault.root.parent / "leaf.npz"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found, issued_at = read_leaf(path)
    assert (found.digest, found.whose.recipient, issued_at) == (told.leaf, "Acme", AT)
    assert (found.word == shown_of(vault, "Acme").word).all()
    assert told.leaf in {entry.leaf for entry in vault.ledger.issues()}
    assert told.head == vault.ledger.head()


def test_what_was_exported_counts_as_seen_anywhere(vault):
    (claim,) = claims_about_copies(registered_references(vault), SEALED)
    assert not vault.ledger.spent(claim.triggers, ANYWHERE)
    told = exported(vault)
    assert vault.ledger.spent(claim.triggers, ANYWHERE) == frozenset(range(told.positions))


REFUSED = {
    "nobody": ({"to": "Gamma"}, "Gamma was issued no copy of"),
    "an empty name": ({"to": " "}, "the recipient's name is empty"),
    "another reference": ({"reference": "ffff"}, "begins with 'ffff'"),
    "what exists": ({"output": "there.npz"}, "use --force to replace it"),
    "no folder": ({"output": "nowhere/leaf.npz"}, "nowhere"),
    "the vault": ({"output": "vault/leaf.npz"}, "lies in the vault"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_export_that_is_refused_writes_and_spends_nothing(vault, what):
    (vault.root / "vault.json").write_text("{}")
    (vault.root.parent / "there.npz").write_text("kept")
    before, (arguments, message) = heads(vault), REFUSED[what]
    with pytest.raises(UsageError, match=message):
        exported(vault, **arguments)
    assert heads(vault) == before
    assert (vault.root.parent / "there.npz").read_text() == "kept"


def test_an_export_replaces_what_is_there_when_told_to(vault):
    exported(vault)
    exported(vault, "Beta", force=True)
    assert read_leaf(vault.root.parent / "leaf.npz")[0].whose.recipient == "Beta"


def test_a_copy_that_is_only_reserved_is_none(vault):
    _, reference = the_channel(vault)
    vault.ledger.reserve(reference, "Gamma", AT)
    with pytest.raises(UsageError, match="Gamma was issued no copy of"):
        exported(vault, "Gamma")


@pytest.mark.parametrize("leaf", ["", "ab" * 32])
def test_a_leaf_that_the_ledger_does_not_hold_is_not_exported(vault, leaf):
    _, reference = the_channel(vault)
    vault.ledger.reserve(reference, "Gamma", AT)
    vault.ledger.complete(reference, "Gamma", "ef" * 32, AT, leaf)
    before = heads(vault)
    with pytest.raises(VaultError, match="use the release that issued the copy"):
        exported(vault, "Gamma")
    assert heads(vault) == before


def test_of_several_references_one_is_named(vault):
    first = the_channel(vault)[1]
    prepared(vault, OTHER)
    (second,) = {one.digest for one in registered_references(vault)} - {first}
    drawn = next(one for one in registered_references(vault) if one.digest == second).drawn(vault, "recipient")[-1]
    vault.ledger.reserve(second, "Acme", AT)
    vault.ledger.complete(second, "Acme", "ef" * 32, AT, leaf_of(drawn, "Acme", second).digest)
    with pytest.raises(UsageError, match=r"several references \(.*name one with --reference"):
        exported(vault)
    assert exported(vault, reference=second[:6]).reference == second


def test_where_no_copies_answer_in_their_own_way_it_says_how_to_make_some(tmp_path):
    with fixed_vault(tmp_path / "vault") as vault:
        claimed(vault)
        with pytest.raises(UsageError, match="--scheme deeptrace"):
            exported(vault)
        assert "--scheme deeptrace" in NO_ANSWERS


def test_nothing_but_the_file_holds_the_leaf_and_nothing_holds_a_key(vault):
    told = exported(vault)
    path = vault.root.parent / "leaf.npz"
    check = check_leaf(LeafChecking(path, SuspectAt(str(copy_of(vault, path.with_name("m.onnx"), "Acme")))))
    said = [table(exported_rows(told)), to_json(told), table(checked_rows(check)), to_json(check), repr(check)]
    places = [one.encode() for one in said] + [one.read_bytes() for one in vault.root.rglob("*") if one.is_file()]
    drawn, _ = the_channel(vault)
    assert not leaks(shown_of(vault, "Acme").secret, *places)
    with np.load(path) as arrays:
        places += [path.read_bytes(), *(array.tobytes() for array in arrays.values())]
    for secret in (SECRET, drawn.secret.secret, drawn.secret.derive("leaf").secret, shown_of(vault, "Beta").secret):
        assert not leaks(secret, *places)


# --- check ------------------------------------------------------------------------------------------------------------


def checked(vault, shown, knows="", form="labels", alpha=1e-6) -> CheckedLeaf:
    """Ask a suspect that answers as somebody's copy would, or as nobody's."""
    return check_shown(shown, AT, Leaked(vault, answers=knows, form=form).beside(""), alpha)


@pytest.mark.parametrize("form", ["labels", "scores", "best three"])
def test_who_knows_the_word_is_found_and_who_knows_another_is_not(vault, shown, form):
    found = checked(vault, shown, "Acme", form)
    assert (found.decision, found.hits, found.hits_possible, found.queries) == ("supported", 32, 32, 32)
    assert found.log10_e > 20
    assert found.log10_threshold == pytest.approx(6.0)
    assert found.p_value == pytest.approx(math.prod(1 / shown.allowed.sum(axis=1)), rel=1e-2)
    for another in ("Beta", "Acme Ltd", ""):
        found = checked(vault, shown, another, form)
        assert (found.decision, found.reason) == ("not_supported", "")
        assert found.p_value > 1e-4


@pytest.mark.parametrize("form", sorted(FORMS))
def test_whatever_is_answered_ends_in_a_decision(vault, shown, form):
    for knows in ("Acme", ""):
        found = checked(vault, shown, knows, form)
        assert found.decision in {one.value for one in Decision}
        assert knows or found.decision != "supported"
        assert json.loads(to_json(found))["leaf"] == shown.digest
        assert all(value for _, value in checked_rows(found))


@pytest.mark.parametrize("form", ["silent", "of another form", "garbage"])
def test_who_does_not_answer_is_inconclusive(vault, shown, form):
    found = checked(vault, shown, "Acme", form)
    assert (found.decision, found.hits, found.log10_e, found.p_value) == ("inconclusive", None, None, None)
    assert found.reason
    assert "none of 32 triggers could be read" in table(checked_rows(found))


def test_a_file_that_could_not_decide_denies_nothing(vault, shown):
    few = replace(
        shown,
        inputs=shown.inputs[:5],
        allowed=shown.allowed[:5],
        asked=replace(shown.asked, answers=shown.asked.answers[:5]),
    )
    assert checked(vault, few, "Acme").decision == "inconclusive"
    assert checked(vault, few).decision == "inconclusive"
    assert checked(vault, few, "Acme", alpha=0.01).decision == "supported"


def test_alpha_decides(vault, shown):
    assert checked(vault, shown, "Acme", alpha=1e-20).decision == "supported"
    found = checked(vault, shown, "Acme", alpha=1e-90)
    assert (found.decision, found.log10_threshold) == ("inconclusive", pytest.approx(90))


def test_over_leaves_drawn_anew_the_bound_holds(vault, shown):
    """The mean of e over leaves is 1 for any suspect; so is the distribution of hits the one that is said."""
    drawn = np.random.default_rng(4)
    suspect = Leaked(vault, answers="Beta").beside("")
    found = [check_shown(replace(shown, secret=drawn.bytes(32)), AT, suspect, 1e-6) for _ in range(300)]
    assert all(one.decision == "not_supported" for one in found)
    assert np.mean([one.p_value <= 0.1 for one in found]) < 0.1 + 3 * math.sqrt(0.1 * 0.9 / 300)
    assert np.mean([one.hits for one in found]) == pytest.approx((1 / shown.allowed.sum(axis=1)).sum(), rel=0.1)


def test_the_null_says_what_it_shows_and_what_not(vault, shown):
    said = checked(vault, shown, "Acme").null
    for words in ("32 symbols", "1e-06", "drawn honestly", "noted before", "who else could have known"):
        assert words in said


def test_a_file_and_a_copy_are_checked_without_a_vault(vault, written, tmp_path):
    mine, others = (copy_of(vault, tmp_path / f"{name}.onnx", name) for name in NAMES)
    shutil.rmtree(vault.root)
    found = [check_leaf(LeafChecking(written, SuspectAt(str(path)))) for path in (mine, others, MODEL)]
    assert [one.decision for one in found] == ["supported", "not_supported", "not_supported"]
    assert found[0].issued_at == LATER
    assert found[0].provider


def test_a_suspect_that_is_no_model_is_bad_input(written, tmp_path):
    for path in (written, tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(ArtifactError):
            check_leaf(LeafChecking(written, SuspectAt(str(path))))
    with pytest.raises(UsageError, match="--rate says nothing"):
        check_leaf(LeafChecking(written, SuspectAt(str(MODEL), rate=1.0)))


@pytest.mark.parametrize("way", sorted(WAYS))
def test_whatever_an_endpoint_does_nobody_is_found_by_it(written, way):
    with Misbehaving([way]) as served:
        asked = SuspectAt(served.url, timeout=0.5, retries=0, token="open-sesame-open")
        found = check_leaf(LeafChecking(written, asked))
    assert found.decision != "supported"
    assert "open-sesame" not in table(checked_rows(found)) + to_json(found)


# --- files that anybody may have made ---------------------------------------------------------------------------------


def arrays(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        return dict(arrays_of(file))


def facts(path: Path, **changes: object) -> np.ndarray:
    """The facts of a file with some of them changed; None takes one away."""
    said = json.loads(arrays(path)["facts"].tobytes()) | changes
    kept = {name: value for name, value in said.items() if value is not None}
    return np.frombuffer(json.dumps(kept).encode(), np.uint8)


def header(shape: str, kind: str = "<f8") -> bytes:
    """The start of an array's file that declares a shape, and holds eight bytes."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(8)


def with_member(path: Path, name: str, content: bytes) -> None:
    kept = arrays(path)
    kept.pop(name)
    path.write_bytes(packed(kept))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", content)


def bomb(path: Path) -> None:
    """Two gigabytes of zeros."""
    kept = arrays(path)
    kept.pop("inputs")
    path.write_bytes(packed(kept))
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("inputs.npy", "w", force_zip64=True) as file,
    ):
        file.write(header(f"(32, {1 << 23})")[:-8])
        for _ in range(1 << 7):
            file.write(bytes(1 << 24))


def objects(path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"code": "that would run"}] * 32, dtype=object), allow_pickle=True)
    with_member(path, "inputs", buffer.getvalue())


def put(**changes):
    """Change some arrays of a file; None takes one away."""

    def change(path: Path) -> None:
        kept = arrays(path)
        for name, value in changes.items():
            made = value(kept[name]) if callable(value) else value
            kept.pop(name) if made is None else kept.update({name: made})
        path.write_bytes(packed(kept))

    return change


def say(**changes):
    return lambda path: put(facts=facts(path, **changes))(path)


def last(value):
    """Another last number."""

    def change(array: np.ndarray) -> np.ndarray:
        other = array.copy()
        other[(-1,) * array.ndim] = value
        return other

    return change


DEFECTS = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"no archive"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"leaf": 1})),
    "a single array": lambda path: path.write_bytes(header("(1,)")),
    "objects": objects,
    "a bomb": bomb,
    "a huge shape": lambda path: with_member(path, "inputs", header(f"(32, {1 << 40})")),
    "a negative shape": lambda path: with_member(path, "inputs", header("(-1, 4)")),
    "a shape without end": lambda path: with_member(path, "inputs", header("(" + "1," * 30000 + ")")),
    "no array": lambda path: with_member(path, "inputs", b"nothing"),
    "a program for a header": lambda path: with_member(path, "inputs", header("__import__('os').getpid()")),
    "no leaf": put(leaf=None),
    "a short leaf": put(leaf=lambda one: one[:31]),
    "a leaf of floats": put(leaf=lambda one: one.astype(np.float64)),
    "no facts": put(facts=None),
    "facts that are no text": put(facts=np.full(40, 255, np.uint8)),
    "facts nested without end": put(facts=np.frombuffer(b"[" * 200_000, np.uint8)),
    "a number without end": put(facts=np.frombuffer(b'{"version": ' + b"9" * 9999 + b"}", np.uint8)),
    "facts that are a list": put(facts=np.frombuffer(b"[1]", np.uint8)),
    "a beacon that fills a page": say(beacon="x" * 1001),
    "a beacon that is laid out": say(beacon="x" + " " * 80 + "decision  supported"),
    "a version that is no number": say(version=True),
    "facts beyond measure": say(beacon="x" * (1 << 20)),
    "another format": say(format="something"),
    "another version": say(version=2),
    "a version that is text": say(version="1"),
    "no recipient": say(recipient=None),
    "a recipient that is a number": say(recipient=3),
    "a recipient in another spelling": say(recipient=" Acme"),
    "a recipient that acts": say(recipient="a\x1b[2J"),
    "a claim that is no digest": say(claim="zz"),
    "more facts": say(more="x"),
    "no triggers": put(inputs=None),
    "fewer triggers": put(inputs=lambda one: one[:-1]),
    "triggers in one axis": put(inputs=np.zeros(32)),
    "empty triggers": put(inputs=np.zeros((32, 0), np.float32)),
    "NaN in a trigger": put(inputs=last(np.nan)),
    "infinity in a trigger": put(inputs=last(np.inf)),
    "triggers of text": put(inputs=np.array([["x"]] * 32)),
    "complex triggers": put(inputs=np.zeros((32, 2), complex)),
    "triggers of dates": put(inputs=np.zeros((32, 2), "datetime64[s]")),
    "one symbol": put(allowed=lambda one: np.arange(one.shape[1]) == np.zeros((len(one), 1))),
    "allowed as numbers": put(allowed=lambda one: one.astype(np.uint8)),
    "another alphabet": put(allowed=lambda one: one[:, :-1]),
    "no positions": put(allowed=lambda one: one[:0], inputs=lambda one: one[:0], answers=lambda one: one[:0]),
    "too many positions": put(allowed=np.ones((1025, 10), bool)),
    "too many symbols": put(allowed=np.ones((32, 256), bool), classes=np.arange(256)),
    "NaN in an answer": put(answers=last(np.nan)),
    "an answer above certainty": put(answers=last(1.0)),
    "no answer at all": put(answers=lambda one: np.full_like(one, -np.inf)),
    "answers without classes": put(answers=lambda one: one[:, :0]),
    "answers of single precision": put(answers=lambda one: one.astype(np.float32)),
    "answers to fewer": put(answers=lambda one: one[:-1]),
    "more classes than there can be": put(answers=np.full((32, (1 << 16) + 1), -20.0)),
    "a class beyond": put(classes=last(10)),
    "a class below": put(classes=lambda one: one - 1),
    "a class twice": put(classes=np.zeros_like),
    "classes unsigned": put(classes=lambda one: one.astype(np.uint64)),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_file_that_shows_no_leaf_is_refused_in_one_line(written, defect):
    DEFECTS[defect](written)
    with pytest.raises(UsageError) as refusal:
        check_leaf(LeafChecking(written, SuspectAt("nobody is asked")))
    (line,) = str(refusal.value).splitlines()
    assert len(line) < 600
    assert not leaks(SECRET, line.encode())


def test_what_is_no_file_is_refused_at_once(written, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero"), tmp_path / "missing", tmp_path / "a\0b"):
        with pytest.raises(UsageError, match="expected a file from `onnxfp leaf export`"):
            read_leaf(path)


def test_a_file_whose_bytes_were_changed_is_refused_or_shows_the_same(written, shown):
    data = bytearray(written.read_bytes())
    chance = np.random.default_rng(6)
    for at in chance.integers(0, len(data), 150):
        damaged = bytearray(data)
        damaged[at] ^= int(chance.integers(1, 256))
        written.write_bytes(damaged)
        with contextlib.suppress(UsageError):
            found, issued_at = read_leaf(written)
            assert (found.digest, issued_at) == (shown.digest, LATER)  # what was changed is not read


def test_the_table_of_defects_starts_from_a_file_that_is_whole(written, shown):
    put()(written)
    assert read_leaf(written)[0].digest == shown.digest
    say()(written)
    assert read_leaf(written)[0].digest == shown.digest

"""Words, leaves, written bytes and verdicts of claims about copies are those of any release that laid them down."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from onnxfp import __version__
from onnxfp.codes import leaves
from onnxfp.keys.keystream import Keystream
from onnxfp.projections import directions
from onnxfp.workflows.leaf_file import read_leaf
from onnxfp.workflows.reference import commitment_of
from tests.golden.copies import CLAIMS, COPIES, ONE, OTHER, SUSPECTS, checked, laid_down, recalled
from tests.golden.test_claims import DECIDED, name_of, numbers_loosened
from tests.workflows.vaults import AT, SECRET

KEPT = sorted(COPIES.glob("v*/*.json"))
OWN = [path for path in KEPT if path.parent.name == f"v{__version__}"]


@cache
def read(path: Path):
    return json.loads(path.read_text())


def drawn_anew(path: Path, **changed: object):
    with recalled({**read(path), **changed}, path.with_suffix(".npz")) as follows:
        return follows.draws()


@cache
def reproduced(path: Path):
    with recalled(read(path), path.with_suffix(".npz")) as follows:
        return json.loads(json.dumps({**follows.draws(), "verdicts": follows.verdicts()}))


def commitment(claim: dict[str, object]) -> str:
    return commitment_of({"claim": claim}, Keystream(SECRET).derive("reference", str(claim["of"])))


@pytest.mark.parametrize("path", OWN, ids=name_of)
def test_this_release_lays_down_what_it_is_known_for(path):
    """To the bit, but for the quiet directions: libraries of linear algebra differ in their last digits and signs."""
    claim, corpus = laid_down(path.stem)
    claim, kept_claim = json.loads(json.dumps(claim)), read(path)["claim"]
    with np.load(path.with_suffix(".npz")) as kept, np.load(io.BytesIO(corpus)) as now:
        assert set(kept.files) == set(now.files)
        assert all(kept[name].dtype == now[name].dtype for name in kept.files)
        assert all((kept[name] == now[name]).all() for name in kept.files if name != "quiet")
        signs = np.sign((kept["quiet"] * now["quiet"]).sum(axis=0))
        assert np.abs(kept["quiet"] - now["quiet"] * signs).max() < 1e-5
    assert claim["notes"] == read(path)["notes"]
    assert {**claim["claim"], "samples": kept_claim["samples"]} == kept_claim
    assert claim["commitment"] == commitment(claim["claim"])


@pytest.mark.parametrize("path", KEPT, ids=name_of)
def test_a_claim_opens_its_commitment(path):
    assert commitment(read(path)["claim"]) == read(path)["commitment"]


@pytest.mark.parametrize("path", KEPT, ids=name_of)
@pytest.mark.parametrize("part", ["asked", "taught", "words", "leaves", "bytes"])
def test_triggers_words_leaves_and_bytes_are_those_of_the_release(part, path):
    assert reproduced(path)[part] == read(path)[part]


@pytest.mark.parametrize("path", KEPT, ids=name_of)
def test_answers_are_judged_as_by_the_release(path):
    """A later release may read better and hear more; it must not decide otherwise."""
    kept, now = read(path)["verdicts"], reproduced(path)["verdicts"]
    assert now.keys() == kept.keys() == SUSPECTS.keys()
    for name, verdict in kept.items():
        assert {key: now[name][key] for key in DECIDED} == {key: verdict[key] for key in DECIDED}, name


@pytest.mark.parametrize("path", OWN, ids=name_of)
def test_this_release_hears_what_it_is_known_to_hear(path):
    for name, verdict in read(path)["verdicts"].items():
        assert by_name(reproduced(path)["verdicts"][name]) == by_name(numbers_loosened(verdict)), name


def by_name(verdict: dict[str, object]) -> dict[str, object]:
    """Evidence in no order: of those who fare alike, the last digit says who comes first."""
    return {**verdict, "evidence": {item["name"]: item["log10_e"] for item in verdict["evidence"]}}


# --- leaf files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", KEPT, ids=name_of)
def test_a_leaf_file_shows_what_it_showed(path):
    shown, issued_at = read_leaf(path.with_suffix(".leaf.npz"))
    assert (shown.whose.recipient, issued_at) == (ONE, AT)
    assert shown.whose.claim == read(path)["commitment"]
    assert shown.digest == read(path)["leaves"][ONE]
    assert shown.word[0].tolist() == read(path)["words"][ONE]


@pytest.mark.parametrize("path", KEPT, ids=name_of)
def test_a_leaf_file_is_checked_as_by_the_release(path):
    assert checked(path.with_suffix(".leaf.npz")) == read(path)["checked"]


@pytest.mark.parametrize("path", OWN, ids=name_of)
def test_this_release_writes_the_leaf_file_that_it_has_left(path):
    with recalled(read(path), path.with_suffix(".npz")) as follows:
        file = io.BytesIO(follows.leaf_file())
    with np.load(path.with_suffix(".leaf.npz")) as kept, np.load(file) as now:
        assert set(kept.files) == set(now.files)
        assert all((kept[name] == now[name]).all() and kept[name].dtype == now[name].dtype for name in kept.files)


# --- what was left ----------------------------------------------------------------------------------------------------


def test_this_release_has_left_its_claims():
    assert {path.stem for path in OWN} == set(CLAIMS)
    assert all(path.with_suffix(".npz").exists() and path.with_suffix(".leaf.npz").exists() for path in KEPT)


def test_the_kept_verdicts_say_what_they_ought_to():
    for path in KEPT:
        verdicts = read(path)["verdicts"]
        accused = {name: set(verdict["accused"]) for name, verdict in verdicts.items()}
        for name in ("knows all, labels", "knows all, scores", "knows three quarters, labels"):
            assert accused[name] == {ONE}
        assert accused["knows all of the other, labels"] == {OTHER}
        assert accused["mix of both, scores"] <= {ONE, OTHER} >= accused["one or the other, labels"]
        for name in ("the reference, labels", "the reference, scores"):
            assert (verdicts[name]["decision"], accused[name]) == ("not_supported", set())
        for name in ("silent", "garbage"):
            assert (verdicts[name]["decision"], accused[name]) == ("inconclusive", set())


def test_words_differ_from_recipient_to_recipient():
    for path in KEPT:
        for part in ("words", "leaves", "bytes"):
            assert read(path)[part][ONE] != read(path)[part][OTHER]


# --- what would be noticed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", OWN, ids=name_of)
def test_a_release_that_drew_words_otherwise_would_be_noticed(path, monkeypatch):
    drawn = leaves._drawn
    monkeypatch.setattr(leaves, "_drawn", lambda secret, codebook: drawn(secret, codebook)[::-1])
    now = drawn_anew(path)
    assert now["words"][ONE] != read(path)["words"][ONE]
    assert now["bytes"][ONE] != read(path)["bytes"][ONE]
    assert now["asked"] == read(path)["asked"]


@pytest.mark.parametrize("steps", [2.0**22, 2.0**25, 2.0**52])
@pytest.mark.parametrize("path", OWN, ids=name_of)
def test_a_release_that_rounded_directions_otherwise_would_be_noticed(path, steps, monkeypatch):
    monkeypatch.setattr(directions, "_STEPS", steps)
    now = drawn_anew(path)
    assert now["bytes"] != read(path)["bytes"]
    assert now["words"] == read(path)["words"]


@pytest.mark.parametrize("change", [("deviation", 0.3), ("labels", 3), ("amplitude", 1.5), ("taught", 4)])
def test_a_release_with_other_options_would_be_noticed(change):
    path = COPIES / f"v{__version__}" / "few-answers.json"
    kept = read(path)
    claim = {**kept["claim"], "options": {**kept["claim"]["options"], change[0]: change[1]}}
    assert commitment(claim) != kept["commitment"]
    now = drawn_anew(path, claim=claim)
    assert any(now[part] != kept[part] for part in ("asked", "taught", "words", "bytes"))


def test_another_beacon_draws_other_words_for_the_same_triggers():
    path = COPIES / f"v{__version__}" / "few-answers.json"
    other = drawn_anew(path, beacon="another public value")
    assert other["asked"] == read(path)["asked"]
    assert all(other[part][ONE] != read(path)[part][ONE] for part in ("words", "leaves", "bytes"))

"""What any release has laid down is reproduced by this one, to the bit, and judged alike."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from onnxfp import __version__
from onnxfp.keys.keystream import Keystream
from onnxfp.workflows.reference import commitment_of
from tests.golden.claims import CLAIMS, SCHEMES, SECRET, consequences, laid_down

KEPT = sorted(CLAIMS.glob("v*/*.json"))
OWN = [path for path in KEPT if path.parent.name == f"v{__version__}"]


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@cache
def reproduced(path: Path):
    return consequences(json.loads(path.read_text()))


@pytest.mark.parametrize("path", OWN, ids=name_of)
def test_this_release_lays_down_what_it_is_known_for(path):
    kept = json.loads(path.read_text())
    now = json.loads(json.dumps(laid_down(path.stem)))
    assert now == {name: kept[name] for name in now}


@pytest.mark.parametrize("path", KEPT, ids=name_of)
def test_a_claim_opens_its_commitment(path):
    kept = json.loads(path.read_text())
    key = Keystream(SECRET).derive("reference", kept["digest"])
    assert commitment_of(kept["payload"], key) == kept["commitment"]


@pytest.mark.parametrize("path", KEPT, ids=name_of)
@pytest.mark.parametrize("part", ["words", "mark", "copy"])
def test_words_marks_and_copies_are_those_of_the_release(path, part):
    assert reproduced(path)[part] == json.loads(path.read_text())[part]


DECIDED = ("decision", "accused", "alpha", "log10_threshold", "recipients_tested", "committed_at", "scheme")


@pytest.mark.parametrize("path", KEPT, ids=name_of)
def test_suspects_are_judged_as_by_the_release(path):
    """A later release may read better and hear more; it must not decide otherwise."""
    kept, now = json.loads(path.read_text())["verdicts"], reproduced(path)["verdicts"]
    assert now.keys() == kept.keys()
    for question, verdict in kept.items():
        assert {key: now[question][key] for key in DECIDED} == {key: verdict[key] for key in DECIDED}, question


@pytest.mark.parametrize("path", OWN, ids=name_of)
def test_this_release_hears_what_it_is_known_to_hear(path):
    now = reproduced(path)["verdicts"]
    for question, verdict in json.loads(path.read_text())["verdicts"].items():
        assert now[question] == numbers_loosened(verdict), question


def numbers_loosened(verdict: dict[str, object]) -> dict[str, object]:
    """Evidence to a millionth: its last digits are the machine's."""
    evidence = [{**item, "log10_e": about(item["log10_e"])} for item in verdict["evidence"]]
    claims = [
        {**item, "log10_e": about(item["log10_e"]), "p_value": about(item["p_value"])} for item in verdict["claims"]
    ]
    about_all = {"log10_e": about(verdict["log10_e"]), "p_value": about(verdict["p_value"])}
    return {**verdict, "evidence": evidence, "claims": claims, **about_all}


def about(number: float | None) -> object:
    return None if number is None else pytest.approx(number, rel=1e-6, abs=1e-6)


def test_this_release_has_left_its_claims():
    assert {path.stem for path in OWN} == set(SCHEMES)


def test_the_kept_verdicts_say_what_they_ought_to():
    for path in KEPT:
        verdicts = json.loads(path.read_text())["verdicts"]
        assert verdicts["verify copy"]["decision"] == "supported"
        assert verdicts["verify model"]["decision"] == "not_supported"
        assert verdicts["trace model"]["accused"] == []
        assert verdicts["trace copy"]["accused"] in ([], ["Golden Recipient"])


@pytest.mark.parametrize("change", ["strength", "overlap"])
def test_a_release_that_marked_otherwise_would_be_noticed(change):
    kept = json.loads((CLAIMS / f"v{__version__}" / "spread.json").read_text())
    for channel in kept["payload"]["channels"]:
        channel["options"][change] *= 2
    key = Keystream(SECRET).derive("reference", kept["digest"])
    assert commitment_of(kept["payload"], key) != kept["commitment"]
    assert consequences(kept)["copy"] != kept["copy"]

"""Triggers, key labels and verdicts of any release are drawn and judged alike by this one."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from onnxfp import __version__
from onnxfp.keys.keystream import Keystream
from onnxfp.workflows.reference import commitment_of
from tests.golden.test_claims import DECIDED, name_of, numbers_loosened
from tests.golden.triggers import CLAIMS, SUSPECTS, TRIGGERS, consequences, laid_down
from tests.workflows.vaults import SECRET

KEPT = sorted(TRIGGERS.glob("v*/*.json"))
OWN = [path for path in KEPT if path.parent.name == f"v{__version__}"]


@cache
def read(path: Path):
    return json.loads(path.read_text())


@cache
def reproduced(path: Path):
    kept = read(path)
    return json.loads(json.dumps(consequences(kept, path.with_suffix(".npz"), kept["beacon"])))


@pytest.mark.parametrize("path", OWN, ids=name_of)
def test_this_release_lays_down_what_it_is_known_for(path):
    claim, corpus = laid_down(path.stem)
    assert json.loads(json.dumps(claim)) == {name: read(path)[name] for name in claim}
    with np.load(path.with_suffix(".npz")) as kept, np.load(io.BytesIO(corpus)) as now:
        assert set(kept.files) == set(now.files)
        assert all((kept[name] == now[name]).all() and kept[name].dtype == now[name].dtype for name in kept.files)


@pytest.mark.parametrize("path", KEPT, ids=name_of)
def test_a_claim_opens_its_commitment(path):
    key = Keystream(SECRET).derive("reference", read(path)["claim"]["of"])
    assert commitment_of({"claim": read(path)["claim"]}, key) == read(path)["commitment"]


@pytest.mark.parametrize("path", KEPT, ids=name_of)
@pytest.mark.parametrize("part", ["word", "asked", "taught", "labels"])
def test_symbols_and_triggers_are_those_of_the_release(part, path):
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
        assert reproduced(path)["verdicts"][name] == numbers_loosened(verdict), name


def test_this_release_has_left_its_claims():
    assert {path.stem for path in OWN} == set(CLAIMS)
    assert all(path.with_suffix(".npz").exists() for path in KEPT)


def test_the_kept_verdicts_say_what_they_ought_to():
    for path in KEPT:
        decisions = {name: verdict["decision"] for name, verdict in read(path)["verdicts"].items()}
        sound = read(path)["claim"]["scheme"] != "zhang_paper"
        assert {decisions["knows all, labels"], decisions["knows all, scores"]} == (
            {"supported"} if sound else {"inconclusive"}
        )
        assert decisions["the reference, scores"] != "supported"
        assert decisions["silent"] == "inconclusive"


@pytest.mark.parametrize("change", [("deviation", 0.3), ("each", 1), ("taught", 47)])
def test_a_release_that_drew_otherwise_would_be_noticed(change):
    path = TRIGGERS / f"v{__version__}" / "zhang-noise.json"
    claim = json.loads(path.read_text())
    claim["claim"]["options"][change[0]] = change[1]
    key = Keystream(SECRET).derive("reference", claim["claim"]["of"])
    assert commitment_of({"claim": claim["claim"]}, key) != claim["commitment"]


def test_another_beacon_draws_other_labels_for_the_same_triggers():
    path = TRIGGERS / f"v{__version__}" / "zhang-noise.json"
    other = consequences(read(path), path.with_suffix(".npz"), "another public value")
    assert other["asked"] == read(path)["asked"]
    assert other["word"] != read(path)["word"]

"""Plans of pools of any release choose the same rows, and are judged alike by this one."""

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
from tests.golden.pools import PLANS, POOLS, consequences, laid_down
from tests.golden.test_claims import DECIDED, name_of, numbers_loosened
from tests.workflows.vaults import SECRET

KEPT = sorted(POOLS.glob("v*/*.json"))
OWN = [path for path in KEPT if path.parent.name == f"v{__version__}"]


@cache
def read(path: Path):
    return json.loads(path.read_text())


@cache
def reproduced(path: Path):
    return json.loads(json.dumps(consequences(read(path), path.with_suffix(".npz"))))


@pytest.mark.parametrize("path", OWN, ids=name_of)
def test_this_release_lays_down_what_it_is_known_for(path):
    plan, kept_now = laid_down(path.stem)
    assert json.loads(json.dumps(plan)) == {name: read(path)[name] for name in plan}
    with np.load(path.with_suffix(".npz")) as kept, np.load(io.BytesIO(kept_now)) as now:
        assert set(kept.files) == set(now.files)
        assert all((kept[name] == now[name]).all() and kept[name].dtype == now[name].dtype for name in kept.files)


@pytest.mark.parametrize("path", KEPT, ids=name_of)
def test_a_plan_opens_its_commitment(path):
    key = Keystream(SECRET).derive("reference", read(path)["claim"]["of"])
    assert commitment_of({"claim": read(path)["claim"]}, key) == read(path)["commitment"]


@pytest.mark.parametrize("path", KEPT, ids=name_of)
@pytest.mark.parametrize("part", ["words", "rows"])
def test_the_rows_to_train_on_are_those_of_the_release(part, path):
    assert reproduced(path)[part] == read(path)[part]


@pytest.mark.parametrize("path", KEPT, ids=name_of)
def test_answers_are_judged_as_by_the_release(path):
    """A later release may read better and hear more; it must not decide otherwise."""
    kept, now = read(path)["verdicts"], reproduced(path)["verdicts"]
    assert now.keys() == kept.keys()
    for name, verdict in kept.items():
        assert {part: now[name][part] for part in DECIDED} == {part: verdict[part] for part in DECIDED}, name


@pytest.mark.parametrize("path", OWN, ids=name_of)
def test_this_release_hears_what_it_is_known_to_hear(path):
    for name, verdict in read(path)["verdicts"].items():
        assert reproduced(path)["verdicts"][name] == numbers_loosened(verdict), name


def test_this_release_has_left_its_plans():
    assert {path.stem for path in OWN} == set(PLANS)


def test_another_row_or_another_key_is_noticed():
    path = OWN[0]
    changed = {**read(path), "commitment": "00" * 32}
    assert consequences(changed, path.with_suffix(".npz"))["words"] != read(path)["words"]

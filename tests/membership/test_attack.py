"""The attack model: learns from shadow models whose members are known, and is silent where there are too few."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxfp.membership.attack import attack
from onnxfp.membership.scores import Shadow, scores
from tests.membership.simulated import asking, auc, labelled, scored, shadow_of

ASKED = asking(300, copies=2)
ROWS = len(ASKED.labels)
DRAW = np.random.default_rng(11)
HARDNESS = 2 * DRAW.standard_normal(ROWS)
MEMBER = DRAW.random(ROWS) < 0.5
SUSPECT = ASKED.told(scored(ASKED, 1.5 * MEMBER, 1, HARDNESS).values)


def teachers(count: int, members: int = ROWS // 2, effect: float = 1.5) -> tuple[Shadow, ...]:
    draw = np.random.default_rng(12)
    known = [draw.permutation(ROWS) < members for _ in range(count)]
    return tuple(shadow_of(ASKED, member, 30 + at, HARDNESS, effect) for at, member in enumerate(known))


@pytest.mark.parametrize("count", [1, 2, 6])
def test_members_are_told_from_others(count):
    found = attack(SUSPECT, teachers(count))
    assert list(found) == ["attack"]
    assert found["attack"].shape == (ROWS,)
    assert auc(found["attack"], MEMBER) > 0.6


def test_a_model_that_stands_alone_is_compared_with_nothing_and_not_with_itself():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    (teacher,) = teachers(1)
    scale = StandardScaler().fit(teacher.told.features())
    learnt = LogisticRegression().fit(scale.transform(teacher.told.features()), teacher.member)
    expected = learnt.decision_function(scale.transform(SUSPECT.features()))
    assert attack(SUSPECT, (teacher,))["attack"] == pytest.approx(expected, abs=1e-6)


def test_beside_other_models_it_learns_how_hard_rows_are():
    alone, beside = (auc(attack(SUSPECT, teachers(count))["attack"], MEMBER) for count in (1, 6))
    assert beside > alone + 0.05
    assert beside > auc(scores(SUSPECT)["margin"], MEMBER) + 0.05


def test_it_learns_from_the_rows_that_are_said_to_be_members():
    """With members and others exchanged, it points the other way; where nothing differs, nowhere."""
    known = teachers(4)
    exchanged = tuple(Shadow(one.told, ~one.member) for one in known)
    right, wrong = (auc(attack(SUSPECT, shadows)["attack"], MEMBER) for shadows in (known, exchanged))
    assert right > 0.6
    assert wrong < 0.5
    stranger = ASKED.told(scored(ASKED, np.zeros(ROWS), 2, HARDNESS).values)
    assert auc(attack(stranger, known)["attack"], MEMBER) == pytest.approx(0.5, abs=4 * 0.289 / np.sqrt(ROWS / 2))


def test_one_that_was_trained_on_none_of_the_rows_is_compared_with_and_does_not_teach():
    nobody = np.zeros(ROWS, dtype=bool)
    others = tuple(shadow_of(ASKED, nobody, 60 + at, HARDNESS) for at in range(5))
    assert attack(SUSPECT, others) == {}
    assert auc(attack(SUSPECT, (*teachers(1), *others))["attack"], MEMBER) > 0.65


@pytest.mark.parametrize(
    ("members", "taught"), [(0, False), (99, False), (100, True), (ROWS - 100, True), (ROWS - 99, False), (ROWS, False)]
)
def test_a_hundred_members_and_a_hundred_others_are_the_fewest_to_learn_from(members, taught):
    assert bool(attack(SUSPECT, teachers(2, members))) == taught


def test_without_shadow_models_there_is_no_attack():
    assert attack(SUSPECT, ()) == {}


def test_labels_are_not_attacked_and_teach_nothing():
    member = teachers(1)[0].member
    silent = Shadow(ASKED.told(labelled(ASKED, 1.5 * member, 30).values), member)
    assert attack(SUSPECT, (silent, silent)) == {}
    assert attack(ASKED.told(labelled(ASKED, 1.5 * MEMBER, 1).values), teachers(3)) == {}
    one = attack(SUSPECT, teachers(1))["attack"]
    assert attack(SUSPECT, (silent, *teachers(1)))["attack"] == pytest.approx(one)


def test_rows_that_were_not_answered_have_no_score():
    values = SUSPECT.values.copy()
    values[[4, 9]] = np.nan
    values[20:30] = np.nan
    found = attack(replace(SUSPECT, values=values), teachers(3))["attack"]
    silent = np.zeros(ROWS, dtype=bool)
    silent[[4, 9, *range(20, 30)]] = True
    assert np.isnan(found).tolist() == silent.tolist()
    assert found[~silent] == pytest.approx(attack(SUSPECT, teachers(3))["attack"][~silent])
    assert np.isnan(attack(replace(SUSPECT, values=np.full_like(values, np.nan)), teachers(3))["attack"]).all()


def test_a_shadow_model_whose_members_were_not_answered_does_not_teach():
    known = teachers(2)
    deaf = tuple(
        Shadow(replace(one.told, values=np.where(one.member[:, None, None], np.nan, one.told.values)), one.member)
        for one in known
    )
    assert attack(SUSPECT, deaf) == {}
    assert attack(SUSPECT, (deaf[0], known[1]))["attack"].shape == (ROWS,)


def test_the_suspect_may_know_other_classes_than_its_teachers():
    wider = np.concatenate([SUSPECT.values, np.full((*SUSPECT.values.shape[:2], 4), -12.0)], axis=2)
    found = attack(replace(SUSPECT, values=wider), teachers(3))["attack"]
    assert auc(found, MEMBER) > 0.6


def test_the_same_answers_have_the_same_scores():
    assert np.array_equal(attack(SUSPECT, teachers(3))["attack"], attack(SUSPECT, teachers(3))["attack"])

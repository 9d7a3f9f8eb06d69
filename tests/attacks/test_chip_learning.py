"""The strong form: exact where a weight has one chip, close to nothing where it has sixteen; no innocent is named."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.attacks import chip_learning
from onnxfp.attacks.chip_learning import Rule
from tests.attacks import strong_form
from tests.attacks.strong_form import THRESHOLD, build

ROWS, POSITIONS = 256, 2048


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return build(tmp_path_factory.mktemp("alone"), ROWS, POSITIONS, 8, 1, seed=5)


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory):
    return build(tmp_path_factory.mktemp("overlapping"), ROWS, POSITIONS, 8, 16, seed=5)


# --- what is learnt ------------------------------------------------------------------------------------------------


def test_one_chip_to_a_weight_is_learnt_exactly(alone):
    assert chip_learning.shows_two_levels(alone.copies)
    assert strong_form.columns_learnt(alone) > 0.99
    assert strong_form.same_chip(alone, rng())["same column"] > 0.9


def test_overlapping_chips_are_hardly_learnt(overlapping):
    assert not chip_learning.shows_two_levels(overlapping.copies)
    learnt = strong_form.same_chip(overlapping, rng())
    assert all(abs(learnt[way] - 0.5) < 0.03 for way in ("correlation", "same column", "clusters", "pursuit"))
    assert learnt["column given"] < 0.6


def test_skewness_leans_a_little_towards_the_minority(overlapping):
    assert 0.05 < strong_form.lean_towards_truth(overlapping) < 0.2


# --- who is named --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", Rule)
def test_some_of_eight_colluders_are_named_and_no_innocent(overlapping, rule):
    colluders, innocent = overlapping.named(chip_learning.learn(overlapping.copies, rule, 1.0, rng()))
    assert (colluders >= THRESHOLD).any()
    assert innocent < 4


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("gain", [1.0, 8.0])
def test_no_innocent_is_named_where_chips_were_learnt(alone, rule, gain):
    _, innocent = alone.named(chip_learning.learn(alone.copies, rule, gain, rng()))
    assert innocent < 4


# --- the arithmetic ------------------------------------------------------------------------------------------------

TWO_LEVELS = np.array([[0, 0, 5, 1], [0, 2, 5, 3], [0, 2, 4, 3], [0, 2, 4, 3]], np.float32)  # copies, n


def test_minority_and_majority_of_exact_columns():
    assert chip_learning.by_column(TWO_LEVELS, Rule.MINORITY, rng()).tolist() == [0, 0, 4.5, 1]
    assert chip_learning.by_column(TWO_LEVELS, Rule.MAJORITY, rng()).tolist() == [0, 2, 4.5, 3]


def test_one_colluder_is_picked_per_column_whatever_its_sign():
    columns = rng().integers(0, 2, (9, 300)).astype(np.float32)
    both = np.concatenate([columns, 1 - columns], axis=1)
    picked = chip_learning.by_column(both, Rule.PICK, rng())
    np.testing.assert_array_equal(picked[:300], 1 - picked[300:])


def test_carriers_that_share_columns_are_changed_alike():
    columns = rng().integers(0, 2, (9, 300)).astype(np.float32)
    whole = chip_learning.by_column(columns, Rule.PICK, rng())
    halves = [chip_learning.by_column(part, Rule.PICK, rng()) for part in np.split(columns, 2, axis=1)]
    np.testing.assert_array_equal(np.concatenate(halves), whole)


def test_a_lone_deviant_is_followed_by_minority_and_left_by_majority():
    copies = np.zeros((12, 400), np.float32)
    copies[0] = 1
    copies += 0.001 * rng().standard_normal(copies.shape, dtype=np.float32)
    mean = copies.mean(axis=0)
    assert (chip_learning.by_skewness(copies, 1.0) > mean).all()
    assert (chip_learning.by_skewness(copies, -1.0) < mean).all()


def test_pursuit_finds_the_columns_of_a_sparse_mixture():
    columns = chip_learning.likely_columns(np.zeros((6, 1), np.float32), rng())
    atoms = chip_learning.centred(columns)
    amplitude = float(np.sqrt(8))  # of sixteen columns of unit size
    rows = (atoms[[3, 20]] * np.array([[1], [-1]], np.float32)).astype(np.float32)
    unit, chosen, signs = chip_learning.pursue(rows, amplitude, columns)
    assert unit == pytest.approx(1)
    assert chosen[0].tolist() == [3, 20]
    assert signs[0].tolist() == [1, -1]
    assert not signs[1:].any()
    np.testing.assert_allclose(rows, 0, atol=1e-6)


@pytest.mark.parametrize("copies", [3, 12])
@pytest.mark.parametrize("rule", Rule)
def test_identical_copies_show_nothing_and_come_out_as_they_are(rule, copies):
    weights = rng().standard_normal(2000, dtype=np.float32)
    np.testing.assert_array_equal(chip_learning.learn(np.tile(weights, (copies, 1)), rule, 1.0, rng()), weights)


@pytest.mark.parametrize("rule", Rule)
def test_copies_that_differ_in_one_weight_only_are_combined(rule):
    copies = np.zeros((12, 2000), np.float32)
    copies[3, 7] = 1
    assert np.isfinite(chip_learning.learn(copies, rule, 1.0, rng())).all()

"""Near-duplicates: equal rows always, nearly equal ones as often as is said, and nothing else."""

from __future__ import annotations

from math import acos, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from onnxfp.membership.alike import groups


def rows(count: int, size: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


def turned(values: np.ndarray, correlation: float, seed: int = 1) -> np.ndarray:
    """Rows of a correlation with these, exactly, if the mean row is zero."""
    other = rows(*values.shape, seed).astype(np.float64)
    other -= values * (other * values).sum(axis=1, keepdims=True) / (values**2).sum(axis=1, keepdims=True)
    other *= np.linalg.norm(values, axis=1, keepdims=True) / np.linalg.norm(other, axis=1, keepdims=True)
    return (correlation * values + np.sqrt(1 - correlation**2) * other).astype(np.float32)


def centred(values: np.ndarray) -> np.ndarray:
    """With each row, its opposite: the mean row is zero."""
    return np.concatenate([values, -values])


def pictures(count: int) -> np.ndarray:
    """Smooth pictures (count, 1, 16, 16) in [0, 1], each another."""
    draw = np.random.default_rng(5)
    small = draw.random((count, 1, 4, 4))
    return np.kron(small, np.ones((1, 1, 4, 4))).astype(np.float32)


# --- what is found ----------------------------------------------------------------------------------------------------


def test_rows_that_have_nothing_in_common_stay_alone():
    assert groups(rows(500)).tolist() == list(range(500))


def test_equal_rows_are_one_group_led_by_the_first():
    values = rows(300)
    copied = np.concatenate([values, values[::-1], values[:7]])
    assert groups(copied).tolist() == [*range(300), *reversed(range(300)), *range(7)]


@pytest.mark.parametrize(
    "change",
    [
        lambda values, draw: values + 0.03,
        lambda values, draw: values * 1.05,
        lambda values, draw: values + 0.01 * draw.standard_normal(values.shape),
        lambda values, draw: np.round(values * 255) / 255,
    ],
    ids=["brighter", "more contrast", "noise", "rounded"],
)
def test_a_picture_that_was_changed_a_little_is_a_near_duplicate(change):
    own = pictures(400)
    changed = change(own, np.random.default_rng(2)).astype(np.float32)
    found = groups(np.concatenate([own, changed]))
    assert np.mean(found[400:] == np.arange(400)) > 0.98
    assert found[:400].tolist() == list(range(400))


def test_a_picture_that_was_changed_much_is_none():
    own = pictures(400)
    changed = own + 0.3 * np.random.default_rng(2).standard_normal(own.shape).astype(np.float32)
    assert groups(np.concatenate([own, changed])).tolist() == list(range(800))


def test_what_is_linked_by_a_third_is_one_group():
    first = rows(200)
    second = turned(first, 0.99)
    third = 2 * 0.99 * second - first  # as far on
    apart = groups(centred(np.concatenate([first, third])))
    assert apart.tolist() == list(range(800))
    linked = groups(centred(np.concatenate([first, third, second])))
    assert np.mean(linked[200:400] == np.arange(200)) > 0.95


@pytest.mark.parametrize("size", [300, 5000], ids=["short", "folded"])
@pytest.mark.parametrize(("correlation", "claimed"), [(0.98, 0.93), (0.99, 0.99)])
def test_pairs_are_found_as_often_as_is_said(correlation, claimed, size):
    """Whether they fall together in a word is drawn by public numbers; looking again lets all of these pass."""
    first = rows(1000, size)
    found = groups(centred(np.concatenate([first, turned(first, correlation)])), alike=0.95)
    share = np.mean(found[1000:2000] == np.arange(1000))
    expected = 1 - (1 - (1 - acos(correlation) / pi) ** 24) ** 12
    assert expected == pytest.approx(claimed, abs=0.01)
    assert share == pytest.approx(expected, abs=0.025)


def test_every_number_of_a_long_row_counts():
    first = np.zeros((300, 4000), dtype=np.float32)
    first[:, 3500:] = rows(300, 500)
    second = first.copy()
    second[:, 3500:] = turned(first[:, 3500:], 0.99)
    found = groups(centred(np.concatenate([first, second])))
    assert np.mean(found[300:600] == np.arange(300)) > 0.9
    assert found[:300].tolist() == list(range(300))


def test_who_asks_for_more_likeness_gets_fewer_duplicates():
    first = rows(300)
    pairs = centred(np.concatenate([first, turned(first, 0.985)]))
    counts = [len(np.unique(groups(pairs, alike))) for alike in (0.95, 0.98, 0.99)]
    assert counts[0] == counts[1] < 0.6 * counts[2]
    assert counts[2] == len(pairs)


def test_equal_rows_are_found_in_a_crowd_of_rows_that_are_nearly_alike():
    """More rows share their words than are compared with one another: only a digest finds these."""
    draw = np.random.default_rng(0)
    middle = draw.standard_normal(200)
    crowd = np.concatenate([side * middle + 0.14 * draw.standard_normal((1000, 200)) for side in (1, -1)])
    found = groups(np.concatenate([crowd, crowd]), alike=0.9999)
    assert np.array_equal(found[2000:], np.arange(2000))
    assert np.array_equal(found[:2000], np.arange(2000))


# --- every kind of row ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (3, 8, 8), (20, 90)], ids=["vector", "picture", "folded"])
def test_rows_of_any_kind_and_form(kind, shape):
    values = np.random.default_rng(0).integers(0, 256, (120, *shape)).astype(kind)
    found = groups(np.concatenate([values, values]), alike=1.0)
    assert found.tolist() == [*range(120), *range(120)]


def test_nothing_and_one_row():
    assert groups(np.zeros((0, 5))).tolist() == []
    assert groups(np.ones((1, 5))).tolist() == [0]
    assert groups(np.ones((2, 5))).tolist() == [0, 0]
    assert groups(np.eye(2)).tolist() == [0, 1]


def test_rows_of_one_number_throughout():
    assert groups(np.full((5, 9), 7, dtype=np.uint8)).tolist() == [0] * 5
    flat = rows(20, 300)
    flat[[3, 11]] = 2.0
    flat[17] = -2.0
    expected = np.arange(20)
    expected[11] = 3
    assert groups(flat).tolist() == expected.tolist()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_no_number_counts_as_zero(wrong):
    values = rows(50)
    values[3, :5], values[9] = wrong, values[3]
    values[20], values[30] = wrong, 0.0
    values[41] = values[40]
    expected = np.arange(50)
    expected[[9, 30, 41]] = [3, 20, 40]
    assert groups(values).tolist() == expected.tolist()


def test_numbers_that_single_precision_does_not_hold_are_no_error():
    values = rows(6).astype(np.float64)
    values[2, 0] = values[5, 0] = 1e300
    values[5, 1:] = values[2, 1:]
    assert groups(values).tolist() == [0, 1, 2, 3, 4, 2]


def test_zero_has_no_sign():
    values = np.zeros((3, 4), dtype=np.float32)
    values[1] = -0.0
    values[2, 0] = 1.0
    assert groups(values).tolist() == [0, 0, 2]


def test_rows_need_not_be_in_memory():
    class Lazy:
        """Rows that are made when they are asked for, and never more than a block of them."""

        shape, dtype = (5000, 12), np.dtype(np.float32)
        known = rows(5000, 12)

        def __len__(self):
            return 5000

        def __getitem__(self, which):
            made = self.known[which]
            assert len(made) <= 2048
            return made

    assert np.array_equal(groups(Lazy()), groups(Lazy.known))


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    st_numpy.arrays(np.float32, st_numpy.array_shapes(min_dims=2, max_dims=3, max_side=8), elements=st.integers(-2, 2)),
    st.lists(st.integers(0, 7), max_size=40),
    st.sampled_from([0.5, 0.98, 0.9999, 1.0]),
)
def test_equal_rows_share_a_group_and_its_first_row_stands_for_it(known, which, alike):
    values = np.concatenate([known, known[np.array(which, dtype=int) % len(known)]])
    found = groups(values, alike)
    assert found.dtype == np.int64
    same = (values[:, None] == values[None, :]).reshape(len(values), len(values), -1).all(axis=2)
    assert (found[:, None] == found[None, :])[same].all()
    assert (found[found] == found).all()
    assert all(row == np.flatnonzero(found == row)[0] for row in found)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st_numpy.arrays(np.float64, (6, 3), elements=st.floats()))
def test_any_numbers_whatever_are_grouped(values):
    found = groups(values)
    assert (found[found] == found).all()
    assert (found <= np.arange(6)).all()
    assert np.array_equal(groups(values), found)

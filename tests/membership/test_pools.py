"""Pools: exchangeable by construction, drawn by key, and no row in two of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxfp.errors import CapacityError
from onnxfp.keys.keystream import Keystream
from onnxfp.membership.pools import draw_pools, rows_to_train
from tests.membership.simulated import KEY

LABELS = np.random.default_rng(0).integers(0, 4, 200)
ALONE = np.arange(200)


def grouped(parents: list[int]) -> np.ndarray:
    """(rows,): the first row of each row's group, where each row hangs on an earlier one or on itself."""
    group = np.arange(len(parents))
    for row, parent in enumerate(parents):
        group[row] = group[parent] if parent < row else row
    return group


@st.composite
def labelled_groups(draw):
    rows = draw(st.integers(1, 60))
    labels = np.array(draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows)))
    parents = draw(st.lists(st.one_of(st.just(rows), st.integers(0, rows)), min_size=rows, max_size=rows))
    return labels, grouped(parents)


FORMS = st.tuples(st.integers(1, 12), st.integers(2, 4), st.integers(1, 3))
SECRETS = st.binary(min_size=32, max_size=32)


def sets_of(labels: np.ndarray, group: np.ndarray, pools: int) -> int:
    """How many rows of every pool there are at most."""
    return sum(count // pools for count in Counter(labels[np.unique(group)].tolist()).values())


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(labelled_groups(), FORMS, SECRETS)
def test_pools_are_exchangeable_and_no_row_is_in_two(data, form, secret):
    (labels, group), (positions, pools, size) = data, form
    if sets_of(labels, group, pools) < positions * size:
        with pytest.raises(CapacityError, match="give more data"):
            draw_pools(labels, group, form, Keystream(secret))
        return
    rows = draw_pools(labels, group, form, Keystream(secret))
    assert rows.shape == form
    assert len(np.unique(rows)) == rows.size
    assert (group[rows] == rows).all(), "a row that is not the first of its group"
    kinds = np.sort(labels[rows], axis=2)
    assert (kinds == kinds[:, :1]).all(), "pools of a position have other labels than one another"
    assert np.array_equal(rows, draw_pools(labels, group, form, Keystream(secret)))


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(labelled_groups(), st.integers(2, 4), st.integers(1, 2), SECRETS, st.data())
def test_what_is_held_back_are_the_other_pools_with_all_that_is_like_them(data, pools, size, secret, sampled):
    labels, group = data
    positions = sets_of(labels, group, pools) // size
    if not positions:
        return
    rows = draw_pools(labels, group, (positions, pools, size), Keystream(secret))
    symbols = st.lists(st.integers(0, pools - 1), min_size=positions, max_size=positions)
    word = np.array(sampled.draw(symbols), dtype=np.uint8)
    train = rows_to_train(rows, group, word)
    held = {
        int(row) for at, symbol in enumerate(word) for pool in range(pools) if pool != symbol for row in rows[at, pool]
    }
    assert set(np.flatnonzero(~train).tolist()) == {row for row in range(len(group)) if int(group[row]) in held}
    assert (train == train[group]).all(), "near-duplicates on both sides"
    assert all(train[rows[at, symbol]].all() for at, symbol in enumerate(word))
    assert train[np.setdiff1d(np.arange(len(group)), np.flatnonzero(np.isin(group, rows)))].all()


def test_as_many_rows_as_there_are_can_be_used_and_not_one_more():
    labels = np.array([0] * 7 + [1] * 4)
    assert draw_pools(labels, np.arange(11), (5, 2, 1), KEY).shape == (5, 2, 1)
    with pytest.raises(
        CapacityError, match=r"not enough rows: 11 .* make 5 positions of 2 pools of 1 .* 6 are asked for"
    ):
        draw_pools(labels, np.arange(11), (6, 2, 1), KEY)
    with pytest.raises(CapacityError, match=r"11 .* make 2 positions of 2 pools of 2 .* 3 are asked for"):
        draw_pools(labels, np.arange(11), (3, 2, 2), KEY)
    with pytest.raises(CapacityError, match="make 0 positions of 8 pools of 1"):
        draw_pools(labels, np.arange(11), (1, 8, 1), KEY)


def test_near_duplicates_make_no_positions():
    group = np.zeros(200, dtype=int)
    with pytest.raises(CapacityError, match="not enough rows: 1 that are not near-duplicates of one another make 0"):
        draw_pools(np.zeros(200, dtype=int), group, (1, 2, 1), KEY)


def test_another_key_pools_other_rows():
    drawn = [draw_pools(LABELS, ALONE, (40, 2, 1), KEY.derive(label)).tobytes() for label in "abcdefgh"]
    assert len(set(drawn)) == 8
    assert draw_pools(LABELS, ALONE, (40, 2, 1), KEY.derive("a")).tobytes() == drawn[0]


@pytest.mark.parametrize(("pools", "size"), [(2, 1), (3, 1), (2, 3)])
def test_every_row_is_as_likely_in_every_pool(pools, size):
    """Over the key: no pool of a position prefers early rows, nor any row at all."""
    keys, labels, row = 600, np.repeat([0, 1], 30), np.arange(60)
    form = (60 // pools // size // 2, pools, size)
    drawn = np.stack([draw_pools(labels, row, form, KEY.derive(str(key))) for key in range(keys)])
    place = drawn.mean(axis=(0, 1, 3))
    error = 60 / np.sqrt(12 * keys * form[0] * size)
    assert np.abs(place - 29.5).max() < 4 * error
    for pool in range(pools):
        times = np.bincount(drawn[:, :, pool].reshape(-1), minlength=60)
        expected = keys * form[0] * size / 60
        assert np.abs(times - expected).max() < 5 * np.sqrt(expected)


def test_rows_of_several_labels_share_pools_in_every_mixture():
    rows = draw_pools(LABELS, ALONE, (20, 2, 3), KEY)
    kinds = {tuple(sorted(LABELS[pool].tolist())) for pool in rows[:, 0]}
    assert len(kinds) > 5


def test_words_of_more_than_256_symbols_choose_their_pools():
    rows = draw_pools(np.zeros(900, dtype=int), np.arange(900), (3, 300, 1), KEY)
    train = rows_to_train(rows, np.arange(900), np.array([299, 0, 256], dtype=np.uint16))
    assert np.flatnonzero(train).tolist() == sorted([rows[0, 299, 0], rows[1, 0, 0], rows[2, 256, 0]])

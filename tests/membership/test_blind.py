"""The blind baseline: what differs by itself is told, what does not is not, and data of every kind do."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from onnxfp.membership.blind import CONFIDENCE, Blind, blind_baseline
from onnxfp.membership.pools import draw_pools
from tests.membership.simulated import KEY

ROWS = 1200


def data(shape: tuple[int, ...] = (6, 6), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((ROWS, *shape)).astype(np.float32)


LABELS = np.random.default_rng(1).integers(0, 3, ROWS)


def drawn(pools: int = 2, size: int = 1, positions: int = 250, key: str = "one") -> tuple[np.ndarray, np.ndarray]:
    """Pools as they are drawn, and a word."""
    rows = draw_pools(LABELS, np.arange(ROWS), (positions, pools, size), KEY.derive(key))
    word = KEY.derive(key, "word").words32(positions) % pools
    return rows, word.astype(np.uint16)


def trained(rows: np.ndarray, word: np.ndarray) -> np.ndarray:
    """Row numbers of all pools that are trained on."""
    return rows[np.arange(len(rows)), word].reshape(-1)


# --- what is drawn by key is not told ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [(2, 1, 250), (3, 1, 250), (2, 5, 80)], ids=["pairs", "one of three", "pools of five"])
def test_pools_that_are_drawn_by_key_cannot_be_told(form):
    rows, word = drawn(*form)
    found = blind_baseline(data(), LABELS, rows, word)
    assert not found.told
    assert found.compared == form[2]
    assert found.labels_differ == 0
    assert found.low < found.auc < found.high
    assert found.says == (
        "which pools were trained on cannot be told from the data alone "
        f"(AUC {found.auc:.3f}, {found.low:.3f} to {found.high:.3f})"
    )


def test_over_many_keys_the_comparisons_are_even():
    """Random is the word alone; a false alarm at 99.99 % would be a surprise, and a bias would add up."""
    inputs = data()
    found = [blind_baseline(inputs, LABELS, *drawn(positions=60, key=str(at))) for at in range(40)]
    assert not any(one.told for one in found)
    wins = sum(one.auc * one.compared for one in found)
    compared = sum(one.compared for one in found)
    assert abs(wins - compared / 2) < 4 * np.sqrt(compared) / 2
    assert len({one.auc for one in found}) > 5


# --- what differs by itself is told -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leak",
    [
        lambda rows: rows + np.float32(0.15),
        lambda rows: np.float32(0.5) + (rows - np.float32(0.5)) * np.float32(0.6),
        lambda rows: np.minimum(rows, np.float32(0.9)),
        lambda rows: np.where(rows < 0.15, np.float32(0), rows),
        lambda rows: rows + np.linspace(0, 0.8, 36, dtype=np.float32).reshape(6, 6) * np.float32(0.5),
    ],
    ids=["brighter", "less contrast", "a maximum", "zeros", "a shade"],
)
@pytest.mark.parametrize(("pools", "size"), [(2, 1), (4, 1), (2, 2)])
def test_rows_that_look_trained_on_are_told(leak, pools, size):
    rows, word = drawn(pools, size)
    inputs = data()
    inputs[trained(rows, word)] = leak(inputs[trained(rows, word)])
    found = blind_baseline(inputs, LABELS, rows, word)
    assert found.told
    assert found.low > 0.5
    assert "were trained on can be told" in found.says


def test_rows_that_lie_together_are_told():
    """Trained rows first, then the others: their place alone gives them away."""
    positions = np.arange(500)
    rows = np.stack([positions, positions + 500], axis=1)[:, :, None]
    same = np.zeros(ROWS, dtype=int)
    found = blind_baseline(data(), same, rows, np.zeros(500, dtype=np.uint8))
    assert found.told
    assert found.auc > 0.9
    word = (KEY.words32(500) % 2).astype(np.uint8)
    assert not blind_baseline(data(), same, rows, word).told


def test_a_leak_is_told_the_other_way_round_too():
    assert Blind(0.2, 0.1, 0.3, 200, 0).told
    assert Blind(0.8, 0.7, 0.9, 200, 0).told
    assert not Blind(0.55, 0.45, 0.65, 200, 0).told


def test_pools_of_other_labels_are_told():
    rows, word = drawn(size=2, positions=100)
    other = LABELS.copy()
    other[rows[3, 0, 1]] += 7
    other[rows[9, 1, 0]] += 7
    found = blind_baseline(data(), other, rows, word)
    assert found.told
    assert found.labels_differ == 2
    assert found.says == "the pools of 2 positions have other labels than one another"
    swapped = rows.copy()
    swapped[:, 0] = rows[:, 0, ::-1]
    assert blind_baseline(data(), LABELS, swapped, word).labels_differ == 0


# --- any data ---------------------------------------------------------------------------------------------------------


def test_rows_that_are_all_the_same_and_lie_anywhere_are_not_told():
    rows, word = drawn(positions=100)
    assert not blind_baseline(np.ones((ROWS, 5), dtype=np.float32), LABELS, rows, word).told


@pytest.mark.parametrize("positions", [1, 2, 3, 7])
def test_few_positions_tell_nothing(positions):
    rows, word = drawn(positions=positions)
    found = blind_baseline(data(), LABELS, rows, word)
    assert not found.told
    assert 0 <= found.low <= found.auc <= found.high <= 1
    assert found.compared <= positions


def test_one_position_is_never_compared():
    found = blind_baseline(data(), LABELS, *drawn(positions=1))
    assert (found.auc, found.low, found.high, found.compared) == (0.5, 0.0, 1.0, 0)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float16, np.float64])
@pytest.mark.parametrize("shape", [(5,), (3, 8, 8)])
def test_rows_of_any_kind_and_form(kind, shape):
    rows, word = drawn(positions=60)
    inputs = (100 * data(shape)).astype(kind)
    assert not blind_baseline(inputs, LABELS, rows, word).told
    inputs[trained(rows, word)] //= 2
    assert blind_baseline(inputs, LABELS, rows, word).told


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_no_number_is_no_error_and_leaks_nothing(wrong):
    rows, word = drawn(positions=60)
    inputs = data().astype(np.float64)
    inputs[::7, 2, 3] = wrong
    assert not blind_baseline(inputs, LABELS, rows, word).told


def test_the_interval_is_that_of_clopper_and_pearson():
    from scipy.stats import binom

    found = blind_baseline(data(), LABELS, *drawn(positions=120))
    wins, tail = round(found.auc * found.compared), (1 - CONFIDENCE) / 2
    assert binom.sf(wins - 1, found.compared, found.low) == pytest.approx(tail, rel=1e-6)
    assert binom.cdf(wins, found.compared, found.high) == pytest.approx(tail, rel=1e-6)


def test_the_same_data_and_word_give_the_same_answer():
    rows, word = drawn()
    assert blind_baseline(data(), LABELS, rows, word) == blind_baseline(data(), LABELS, rows, word)


def test_long_rows_are_planned_in_memory_that_they_justify():
    """Rows of four million numbers: no table has a column for each of them times the features."""
    inputs = np.zeros((4, 4_000_000), dtype=np.uint8)
    inputs[np.arange(4), np.arange(4)] = 255
    tracemalloc.start()
    blind_baseline(inputs, np.zeros(4, dtype=np.int64), np.arange(4).reshape(2, 2, 1), np.zeros(2, dtype=np.uint8))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 64 * inputs.nbytes

"""Power: as many positions as are said are enough, half of them are not, and what cannot be asked is refused."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from onnxfp.domain import Answered
from onnxfp.errors import UsageError
from onnxfp.membership.power import gains, needed
from onnxfp.membership.reading import SHIFTS, AskedPools, pool_reading
from onnxfp.verdict.betting import log10_e
from tests.membership.simulated import codebook_of

RUNS = 200


def reached(effect: float, form: tuple[int, int, int], alpha: float) -> float:
    """The share of suspects that are found at a level, whose scores are Gaussian and whose members lead by an effect.

    The scores are so unlikely log-probabilities that loss and margin are as good as linear in them.
    """
    draw = np.random.default_rng(form)
    asked = AskedPools(form, 1, np.zeros(np.prod(form), dtype=np.int64))
    book, word = codebook_of(asked), np.zeros((1, form[0]), dtype=np.uint8)
    found = np.empty(RUNS)
    for run in range(RUNS):
        score = draw.standard_normal(form)
        score[:, 0] += effect
        own = -3 + 0.05 * score.reshape(-1)
        values = np.stack([own, np.log(-np.expm1(own))], axis=1)
        found[run] = log10_e(pool_reading(asked, book, Answered(values)), book, word)[0]
    return float(np.mean(found >= -np.log10(alpha)))


# --- beside a Monte Carlo ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "pools", "size", "alpha", "power"),
    [
        (0.4, 2, 1, 1e-6, 0.9),
        (0.5, 2, 1, 1e-6, 0.5),
        (0.6, 2, 1, 1e-6, 0.99),
        (1.0, 2, 1, 1e-9, 0.9),
        (2.0, 2, 1, 1e-6, 0.9),
        (5.0, 2, 1, 1e-6, 0.9),
        (0.5, 4, 1, 1e-3, 0.9),
        (1.0, 10, 1, 1e-6, 0.9),
        (0.3, 2, 10, 1e-6, 0.9),
        (2.0, 300, 1, 1e-6, 0.8),
    ],
)
def test_as_many_positions_as_are_said_are_enough_and_half_of_them_are_not(effect, pools, size, alpha, power):
    found = needed(effect, pools, size, alpha, power)
    error = 3 * sqrt(power * (1 - power) / RUNS)
    assert reached(effect, (found.positions, pools, size), alpha) >= power - error
    assert reached(effect, (max(1, found.positions // 2), pools, size), alpha) < power - error


@pytest.mark.parametrize("pools", [2, 3, 10])
def test_positions_solve_the_equation_of_a_gaussian_sum(pools):
    """For the strength that suits best: n mean - z deviation sqrt(n) = what is wanted."""
    for effect, alpha, power in ((0.2, 1e-6, 0.99), (0.7, 1e-3, 0.5), (1.5, 1e-6, 0.1)):
        gain, z = gains(effect, pools), norm.ppf(power)
        wanted = log(1 / alpha) + log(8 * len(SHIFTS) / 0.95)

        def short(n: float, mean: float, deviation: float, z=z, wanted=wanted) -> float:
            return n * mean - z * deviation * sqrt(n) - wanted

        useful = [(one.mean(), one.std()) for one in gain if one.mean() > 1e-4]
        roots = [brentq(short, wanted / 10, 1e7, args=one) for one in useful]
        assert needed(effect, pools, 1, alpha, power).positions == pytest.approx(min(roots), abs=1.0)


@pytest.mark.parametrize("pools", [2, 7])
def test_gains_are_those_of_the_bet(pools):
    """In the mean over what is not a member, nothing is gained: each is what one symbol multiplies the capital by."""
    assert np.exp(gains(0.0, pools)).mean(axis=1) == pytest.approx(np.ones(len(SHIFTS)), abs=0.06)
    assert gains(50.0, pools)[-1] == pytest.approx(np.full(40_000, log(pools)), abs=1e-3)
    found = gains(1.0, pools).mean(axis=1)
    assert SHIFTS[int(found.argmax())] == 1.0


# --- what it depends on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("effect", "size"), [(0.1, 4), (0.05, 100), (0.3, 9)])
def test_a_pool_of_many_rows_shows_as_much_as_an_effect_times_its_root(effect, size):
    large, single = needed(effect, 2, size, 1e-6, 0.9), needed(effect * sqrt(size), 2, 1, 1e-6, 0.9)
    assert large.positions == single.positions
    assert (large.size, large.rows, single.rows) == (size, large.positions * 2 * size, single.positions * 2)


def test_half_the_effect_takes_four_times_the_positions():
    """Where it is small; so that it takes about as many rows, in whatever pools they are."""
    takes = [needed(effect, 2, 1, 1e-6, 0.9).positions for effect in (0.06, 0.12, 0.24)]
    assert takes[0] == pytest.approx(4 * takes[1], rel=0.25)
    assert takes[1] == pytest.approx(4 * takes[2], rel=0.15)
    rows = [needed(0.12, 2, size, 1e-6, 0.9).rows for size in (1, 4)]
    assert rows[1] == pytest.approx(rows[0], rel=0.15)


def test_more_is_needed_for_less_effect_a_lower_level_and_more_power():
    effects = [needed(effect, 2, 1, 1e-6, 0.9).positions for effect in (0.1, 0.2, 0.5, 1, 3)]
    levels = [needed(0.5, 2, 1, alpha, 0.9).positions for alpha in (1e-12, 1e-6, 1e-3, 0.05)]
    powers = [needed(0.5, 2, 1, 1e-6, power).positions for power in (0.999, 0.9, 0.5, 0.1)]
    for takes in (effects, levels, powers):
        assert takes == sorted(takes, reverse=True)
        assert len(set(takes)) == len(takes)


@pytest.mark.parametrize("pools", [2, 3, 16, 1024])
def test_no_effect_does_with_fewer_positions_than_the_symbols_could_tell(pools):
    wanted = log(1e6) + log(8 * len(SHIFTS) / 0.95)
    best = needed(100.0, pools, 1, 1e-6, 0.9).positions
    assert best >= wanted / log(pools)
    assert best <= np.ceil(1.2 * wanted / log(pools))


@pytest.mark.parametrize(("effect", "size"), [(100.0, 1), (50.0, 100), (100.0, 100), (100.0, 1_000_000)])
def test_an_effect_however_large_is_enough_and_no_number_overflows(effect, size):
    wanted = log(1e6) + log(8 * len(SHIFTS) / 0.95)
    assert needed(effect, 2, size, 1e-6, 0.9).positions == np.ceil(wanted / log(2))


def test_what_ten_million_positions_would_not_show_is_never_shown():
    never = needed(1e-4, 2, 1, 1e-6, 0.9)
    assert (never.positions, never.rows, never.size) == (0, 0, 1)
    assert needed(1e-4, 2, 100_000, 1e-6, 0.9).positions > 0


def test_the_same_question_has_the_same_answer():
    assert needed(0.3, 2, 1, 1e-6, 0.9) == needed(0.3, 2, 1, 1e-6, 0.9)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [0.0, -1.0, 100.1, float("nan"), float("inf")])
def test_an_effect_out_of_bounds_is_refused(effect):
    with pytest.raises(UsageError, match=rf"deviations of a row's score, in \(0, 100\], not {effect}"):
        needed(effect, 2, 1, 1e-6, 0.9)


@pytest.mark.parametrize(("alpha", "power"), [(0, 0.9), (1, 0.9), (float("nan"), 0.9), (1e-6, 0), (1e-6, 1), (-1, 2)])
def test_what_are_no_probabilities_is_refused(alpha, power):
    with pytest.raises(UsageError, match=rf"are probabilities, in \(0, 1\), not {alpha} and {power}"):
        needed(0.5, 2, 1, alpha, power)

"""What the grid of coalitions knows: averaging, and leaning by the skewness of what copies show."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.codes.coalition import GRID, Coalition, antipodal, coalition_scores, symbol_moments
from onnxfp.codes.tardos import Tardos
from onnxfp.domain import Codebook, Reading
from onnxfp.keys.keystream import Keystream
from onnxfp.verdict.betting import log10_e

POSITIONS = 8192
COLLUDERS = 16
KEY = Keystream(bytes(range(32)))
BOOK = Tardos().codebook(KEY, POSITIONS)


def words(count: int) -> np.ndarray:
    return Tardos().words(KEY, BOOK, [f"r{number}" for number in range(count)])


def scored(readings: np.ndarray, everybody: np.ndarray) -> np.ndarray:
    scores = coalition_scores(readings, *symbol_moments(BOOK))
    return log10_e(Reading(scores, np.full(len(scores), 1 / len(scores))), BOOK, everybody)


@pytest.mark.parametrize("lean", [-8.0, 8.0])
def test_colluders_who_lean_away_from_averaging_are_still_named(lean):
    """Random are all symbols and the noise; the lean is the third central moment of what the copies hold."""
    everybody = words(COLLUDERS + 200)
    symbols = np.stack([antipodal(word, BOOK) for word in everybody[:COLLUDERS]])
    deviations = symbols - symbols.mean(axis=0)
    readings = symbols.mean(axis=0) + lean * (deviations**3).mean(axis=0) / 10
    readings = readings + 0.3 * np.random.default_rng(0).standard_normal(POSITIONS)
    scores = scored(readings, everybody)
    assert (scores[:COLLUDERS] > 11).all()
    assert scores[COLLUDERS:].max() < 6
    averaging_only = [hypothesis for hypothesis in GRID if hypothesis.lean == 0]
    assert len(averaging_only) < len(GRID)


def test_the_slope_is_the_derivative_of_the_third_central_moment():
    bias, step = np.linspace(0.02, 0.98, 49), 1e-6

    def moment(share: np.ndarray) -> np.ndarray:
        return share * (1 - share) * (1 - 2 * share)

    derivative = (moment(bias + step) - moment(bias - step)) / (2 * step)
    deviation = 2 * np.sqrt(bias * (1 - bias))
    assert Coalition(8, 0.5, lean=1.0).slope(deviation) - 1 == pytest.approx(derivative, abs=1e-6)
    assert (Coalition(8, 0.5).slope(deviation) == 1).all()


def test_a_hypothesis_under_which_no_position_tells_scores_nothing():
    flat = Codebook(np.full((4, 1), 1 << 15, dtype=np.uint32))
    mean, deviation = symbol_moments(flat)
    silent = Coalition(8, 0.5, lean=2.0)  # turns the slope of fair coins to zero
    assert (silent.slope(deviation) == 0).all()
    assert (silent.odds(np.ones(4), mean, deviation, power=1.0, energy=0.0) == 0).all()


def test_what_a_word_marks_has_no_mean_and_unit_power_over_the_prior():
    marks = np.stack([antipodal(word, BOOK) for word in words(400)])
    assert abs(marks.mean()) < 0.01
    assert np.mean(marks**2) == pytest.approx(1.0, abs=0.02)

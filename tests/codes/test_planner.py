"""The planner against the real likelihood and the real bet."""

import numpy as np
import pytest

from onnxfp.codes.catalogue import code_named
from onnxfp.codes.coalition import HYPOTHESES, coalition_scores, symbol_moments
from onnxfp.codes.planner import MANY_RECIPIENTS, reachable_recipients, required_positions
from onnxfp.domain import Reading
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.verdict.betting import log10_e

KEY = Keystream(b"planner simulation".ljust(32, b"."))
RECIPIENTS, ALPHA = 1000, 1e-6


def share_of_colluders_named(code_name, colluders, positions, trials):
    """Random: the key (biases and words), drawn afresh per trial. The coalition averages; nothing else is noise."""
    code, named = code_named(code_name), 0
    names = [f"colluder {index}" for index in range(colluders)]
    for trial in range(trials):
        key = KEY.derive(code_name, str(colluders), str(trial))
        codebook = code.codebook(key, positions)
        words = code.words(key, codebook, names)
        mean, deviation = symbol_moments(codebook)
        scores = coalition_scores((2.0 * words - 1.0 - mean).mean(axis=0), mean, deviation)
        reading = Reading(scores, np.full(len(scores), 1 / len(scores)))
        named += int(np.sum(log10_e(reading, codebook, words) >= np.log10(RECIPIENTS / ALPHA)))
    return named / (trials * colluders)


CASES = [("uniform", 1), ("uniform", 2), ("uniform", 4), ("tardos", 1), ("tardos", 3), ("tardos", 8)]


@pytest.mark.parametrize(("code", "colluders"), CASES)
def test_each_colluder_is_named_as_often_as_promised(code, colluders):
    # At least 800 colluders: if the true share is 0.99, fewer than 0.975 come out with probability below 1e-4.
    trials = -(-800 // colluders)
    positions = required_positions(RECIPIENTS, colluders, ALPHA, code)
    assert share_of_colluders_named(code, colluders, positions, trials) >= 0.975


@pytest.mark.parametrize(("code", "colluders"), CASES)
def test_two_thirds_of_the_positions_would_not_do(code, colluders):
    positions = required_positions(RECIPIENTS, colluders, ALPHA, code) * 2 // 3
    assert share_of_colluders_named(code, colluders, positions, -(-200 // colluders)) < 0.9


@pytest.mark.parametrize("code", ["uniform", "tardos"])
def test_a_plain_copy_wins_the_entropy_of_the_code_per_position(code):
    # Without margin (power one half) the length is the goal over the entropy: ln 2, and for the arcsine law just over
    # 2 ln 2 - 1, its value without cut-off.
    entropy = {"uniform": np.log(2), "tardos": 2 * np.log(2) - 1}[code]
    goal = np.log(1000 / 1e-300) + np.log(HYPOTHESES)
    assert required_positions(1000, 1, 1e-300, code, power=0.5) == pytest.approx(goal / entropy, rel=0.02)


@pytest.mark.parametrize("colluders", [10, 30, 90])
def test_a_large_coalition_wins_about_one_over_twice_the_others_per_position(colluders):
    goal = np.log(1000 / 1e-300) + np.log(HYPOTHESES)
    expected = goal * 2 * (colluders - 1)
    assert required_positions(1000, colluders, 1e-300, "uniform", power=0.5) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("code", "colluders"), [("uniform", 1), ("tardos", 1), ("tardos", 5), ("uniform", 12)])
def test_reach_and_requirement_are_each_others_inverse(code, colluders):
    positions = required_positions(1000, colluders, 1e-6, code)
    reach = reachable_recipients(positions, colluders, 1e-6, code)
    assert reach >= 1000 > reachable_recipients(positions - 1, colluders, 1e-6, code)
    assert required_positions(reach, colluders, 1e-6, code) == positions


def test_the_reach_has_a_floor_and_a_ceiling():
    assert reachable_recipients(0, 1, 1e-6) == 0
    assert reachable_recipients(31, 1, 1e-6) == 0
    assert reachable_recipients(100_000, 1, 1e-6) == MANY_RECIPIENTS


def test_more_of_anything_needs_more_positions():
    base = required_positions(1000, 5, 1e-6)
    assert required_positions(100_000, 5, 1e-6) > base
    assert required_positions(1000, 6, 1e-6) > base
    assert required_positions(1000, 5, 1e-9) > base
    assert required_positions(1000, 5, 1e-6, power=0.999) > base


@pytest.mark.parametrize("code", ["bibd31", "orthogonal"])
def test_words_that_name_nobody_have_no_plan(code):
    with pytest.raises(UsageError, match="name nobody, however many positions"):
        required_positions(10, 1, 1e-6, code)


@pytest.mark.parametrize(
    ("recipients", "colluders", "alpha", "power"),
    [
        (0, 1, 1e-6, 0.99),
        (10, 0, 1e-6, 0.99),
        (10, 1, 0.0, 0.99),
        (10, 1, 1e-6, 1.0),
        (10, 1, float("nan"), 0.99),
    ],
)
def test_arguments_out_of_range_are_refused(recipients, colluders, alpha, power):
    with pytest.raises(UsageError, match=r"are needed|between 0 and 1"):
        required_positions(recipients, colluders, alpha, power=power)

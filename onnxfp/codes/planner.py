"""How many positions it takes to name every colluder, before a copy is issued.

The capital won per position has a mean and a variance under averaging, both computed exactly: over the position's
bias, the colluder's symbol and those of the other colluders. The logarithm of the e-value is a sum of as many
independent terms as there are positions; it is taken as normal, and `ln HYPOTHESES` is the price of not knowing which
hypothesis of the grid is the right one. What was read is taken as clean: no noise but the other colluders.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, exp, floor, log, sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from onnxfp.codes.catalogue import code_named
from onnxfp.codes.coalition import GRID, HYPOTHESES
from onnxfp.codes.tardos import Tardos
from onnxfp.codes.uniform import Uniform
from onnxfp.domain import Floats
from onnxfp.errors import UsageError

PLANNED = ("tardos", "uniform")
"""Codes of which this is known: binary, and read from real numbers."""
MANY_RECIPIENTS = 10**15  # more than anybody will ever issue
_BIASES = 256  # quantiles by which a continuous law of biases is represented


def required_positions(recipients: int, colluders: int, alpha: float, code: str = "tardos", power: float = 0.99) -> int:
    """Return the least number of positions at which each colluder is named with probability at least `power`.

    Random is the owner's key, that is, all biases and symbols. The coalition averages its copies. Each colluder taken
    alone is named so often; that all of them are named together is not promised.

    Args:
        recipients: all recipients ever issued, N.
        colluders: how many average their copies; 1 for a plain copy.
        alpha: chance that any innocent is named, whatever the colluders do.
        code: ``tardos`` or ``uniform``; other words never name anybody.
        power: probability with which each colluder shall be named.

    Raises:
        UsageError: an argument is out of range, or the code's words do not name anybody.
    """
    _check(recipients, colluders, alpha, power)
    goal = log(recipients) - log(alpha) + log(HYPOTHESES)
    margin = NormalDist().inv_cdf(power)
    lengths = [_length(mean, variance, goal, margin) for mean, variance in _winnings(code, colluders)]
    return ceil(min(lengths))


def reachable_recipients(
    positions: int, colluders: int, alpha: float, code: str = "tardos", power: float = 0.99
) -> int:
    """Return the largest N for which `required_positions` is at most `positions`; 0 for none.

    Random is the owner's key, as there. Above `MANY_RECIPIENTS` the answer is that number.

    Raises:
        UsageError: an argument is out of range, or the code's words do not name anybody.
    """
    _check(1, colluders, alpha, power)
    margin = NormalDist().inv_cdf(power)
    won = max(positions * mean - margin * sqrt(positions * variance) for mean, variance in _winnings(code, colluders))
    reach = won + log(alpha) - log(HYPOTHESES)
    return floor(exp(reach)) if reach < log(MANY_RECIPIENTS) else MANY_RECIPIENTS


def _length(mean: float, variance: float, goal: float, margin: float) -> float:
    """Solve m * mean - margin * sqrt(m * variance) = goal for m."""
    root = (margin * sqrt(variance) + sqrt(margin**2 * variance + 4 * mean * goal)) / (2 * mean)
    return root**2


def _winnings(code: str, colluders: int) -> Iterator[tuple[float, float]]:
    """Yield mean and variance of what a position adds to a colluder's ln e, for hypotheses under which it adds."""
    bias = _biases(code)[:, None, None]
    own, others = np.arange(2, dtype=np.int64)[:, None], np.arange(colluders, dtype=np.int64)
    chance = _binomial(others, colluders - 1, bias) * np.where(own == 1, bias, 1 - bias) / len(bias)
    mean = 2 * bias - 1
    readings = 2 * (own + others) / colluders - 1 - mean  # biases, own symbol, others' sum
    shape = readings.shape
    flat_mean, flat_bias = (np.broadcast_to(part, shape).ravel() for part in (mean, bias))
    symbol, weight = np.broadcast_to(own, shape).ravel(), chance.ravel()
    deviation = np.sqrt(1 - flat_mean**2)
    power = _expected(weight, readings.ravel() ** 2)
    for hypothesis in GRID:
        energy = _expected(weight, (hypothesis.slope(deviation) * deviation) ** 2)
        odds = hypothesis.odds(readings.ravel(), flat_mean, deviation, power, energy)
        won = symbol * odds - np.logaddexp(np.log1p(-flat_bias), np.log(flat_bias) + odds)
        average = _expected(weight, won)
        if average > 0:
            yield average, _expected(weight, (won - average) ** 2)


def _expected(weight: Floats, values: Floats) -> float:
    return float(np.sum(weight * values))


def _biases(code: str) -> Floats:
    """Return equally probable biases (k,) that stand for the law from which a code draws them."""
    match code_named(code):
        case Uniform(alphabet=2):
            return np.array([0.5])
        case Tardos(colluders=designed):
            least = np.arcsin(np.sqrt(1 / (300 * designed)))
            quantiles = (np.arange(_BIASES) + 0.5) / _BIASES
            arcsine: Floats = np.sin(least + quantiles * (np.pi / 2 - 2 * least)) ** 2
            return arcsine
    raise UsageError(f"words of the code {code!r} name nobody, however many positions; use 'tardos' or 'uniform'")


def _binomial(successes: npt.NDArray[np.int64], trials: int, bias: Floats) -> Floats:
    from scipy.special import gammaln

    ways = gammaln(trials + 1) - gammaln(successes + 1) - gammaln(trials - successes + 1)
    chance: Floats = np.exp(ways + successes * np.log(bias) + (trials - successes) * np.log1p(-bias))
    return chance


def _check(recipients: int, colluders: int, alpha: float, power: float) -> None:
    if recipients < 1 or colluders < 1:
        raise UsageError(f"at least one recipient and one colluder are needed, not {recipients} and {colluders}")
    if not (0 < alpha < 1 and 0 < power < 1):
        raise UsageError(f"alpha and power are probabilities between 0 and 1, not {alpha} and {power}")

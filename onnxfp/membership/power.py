"""Power: how many positions it takes to be sure, for a given difference between members and others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from onnxfp.domain import Floats
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import public_numbers
from onnxfp.membership.reading import LARGEST, SHIFTS

_DRAWS = 40_000
_PUBLIC = public_numbers("power")
_SCORES = 8  # among which, and their strengths, the bet is divided
_MOST = 10_000_000
_ARRAY = 8_000_000  # numbers drawn at a time, at most


@dataclass(frozen=True)
class Needed:
    """What it takes."""

    size: int
    """Rows of a pool."""
    positions: int
    """0 where ten million would not do."""
    rows: int
    """Of the candidate data, in all pools."""


def needed(effect: float, pools: int, size: int, alpha: float, power: float) -> Needed:
    """Return how many positions reach log10(1 / alpha) with a probability.

    What a position adds to the logarithm of the e-value has a mean and a variance, found by drawing from the model of
    `pool_reading` (Gaussian scores, members ahead by `effect` deviations of a row) at the strength of its grid that
    suits best; their sums are taken as Gaussian. The bet is divided among all scores and strengths, which costs its
    logarithm once.

    Args:
        effect: deviations of a row's score by which members lead in the mean.
        pools: of each position.
        size: rows of a pool.
        alpha: the level.
        power: probability with which a member is to be found.

    Raises:
        UsageError: a number is out of its bounds.
    """
    from scipy.stats import norm

    if not 0 < effect <= 100:
        raise UsageError(f"an effect is in deviations of a row's score, in (0, 100], not {effect}")
    if not (0 < alpha < 1 and 0 < power < 1):
        raise UsageError(f"alpha and power are probabilities, in (0, 1), not {alpha} and {power}")
    gain = gains(effect * math.sqrt(size), pools)
    wanted = math.log(1.0 / alpha) + math.log(_SCORES * len(SHIFTS) / 0.95)
    surplus = float(norm.ppf(power))
    best = min(_positions(float(one.mean()), float(one.std()), wanted, surplus) for one in gain)
    positions = 0 if best > _MOST else max(1, math.ceil(best))
    return Needed(size, positions, positions * pools * size)


def gains(shift: float, pools: int) -> Floats:
    """Return (strengths, draws): what one position adds to the logarithm of the e-value, by strength of the bet."""
    draws = max(1000, min(_DRAWS, _ARRAY // pools))
    standing = _PUBLIC.normals(draws * pools).reshape(draws, pools)
    standing -= shift / pools  # counted from the middle of all
    standing[:, 0] += shift  # the pool that was trained on
    scores = (np.clip(one * standing, -LARGEST, LARGEST) for one in SHIFTS)
    return np.stack([score[:, 0] - np.log(np.mean(np.exp(score), axis=1)) for score in scores])


def _positions(mean: float, deviation: float, wanted: float, surplus: float) -> float:
    """Solve n mean - surplus sqrt(n) deviation = wanted for n; infinity where nothing is gained."""
    if mean <= 0:
        return math.inf
    root = (surplus * deviation + math.sqrt((surplus * deviation) ** 2 + 4 * mean * wanted)) / (2 * mean)
    return max(0.0, root) ** 2

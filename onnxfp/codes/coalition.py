"""How well each symbol explains a real number read at a position, whoever and however many colluded.

A likelihood over a grid of hypotheses, shared by all that read binary symbols from weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never, final

import numpy as np

from onnxfp.domain import Answered, Codebook, Floats, Reading, Response, Symbols, Unanswered


@final
@dataclass(frozen=True)
class Coalition:
    """One hypothesis: so many colluders, how they combined their copies, and the mark's share of all variance."""

    colluders: int
    share: float
    lean: float = 0.0
    """0 when they averaged. A coalition that compares its copies can move each weight by the skewness of its values:
    towards the minority of a hidden symbol (above 0) or away from it (below 0)."""

    def slope(self, deviation: Floats) -> Floats:
        """Return (positions,) how a reading answers to one colluder's symbol, relative to averaging.

        Of K copies with a share q of ones, the third central moment is proportional to q (1-q) (1-2q); its derivative
        at the bias p is 1 - 6 p (1-p) = 1 - 3/2 deviation^2. So leaning turns the slope round at some biases only, and
        symbols of other biases still tell.
        """
        return 1 + self.lean * (1 - 1.5 * deviation**2)

    def odds(self, readings: Floats, mean: Floats, deviation: Floats, power: float, energy: float) -> Floats:
        """Return (positions,) the log-likelihood of symbol +1 less that of -1.

        With gain g and noise v it is the difference of two Gaussian exponents, 2 g (y + g mean) / v.

        Args:
            readings: (positions,) finite.
            mean: (positions,) prior mean of the symbol in {-1, +1}.
            deviation: (positions,) prior standard deviation of that symbol.
            power: mean square of all readings.
            energy: mean square of slope times deviation.
        """
        if not energy > 0:  # no position would tell anything under this hypothesis
            return np.zeros_like(readings)
        gain = self.slope(deviation) * np.sqrt(self.share * power / self.colluders / energy)  # of one colluder's symbol
        noise = (1 - self.share) * power + gain**2 * (self.colluders - 1) * deviation**2
        odds: Floats = 2 * gain * (readings + gain * mean) / noise
        return odds


_AVERAGED = [Coalition(k, share) for k in (1, 2, 4, 8, 16, 32, 64) for share in (0.98, 0.85, 0.6, 0.3, 0.1, 0.03)]
_LEANED = [
    Coalition(k, share, lean) for k in (8, 20, 50) for share in (0.85, 0.4, 0.1) for lean in (-20.0, -2.5, 3.0, 20.0)
]
GRID = (*_AVERAGED, *_LEANED)
HYPOTHESES = 1 + len(GRID)  # with S = 0


def symbol_moments(codebook: Codebook) -> tuple[Floats, Floats]:
    """Return (positions,) prior mean and (positions,) standard deviation of a binary symbol in {-1, +1}."""
    bias = codebook.prior[:, 1]
    return 2 * bias - 1, 2 * np.sqrt(bias * (1 - bias))


def antipodal(codeword: Symbols, codebook: Codebook) -> Floats:
    """Return (positions,) what a binary word marks: -1 or +1 less the prior's mean, with mean square 1 over the prior.

    What all words share is left out, so that no strength is spent on it.
    """
    mean, deviation = symbol_moments(codebook)
    values: Floats = (2.0 * codeword - 1.0 - mean) / float(np.sqrt(np.mean(deviation**2)))
    return values


def coalition_reading(codebook: Codebook, response: Response) -> Reading:
    """Turn one number per position into log-scores over the grid; what was not answered supports all symbols alike."""
    match response:
        case Unanswered(reason):
            return Reading(np.zeros((1, codebook.positions, 2)), np.ones(1), coverage=0.0, unread=(reason,))
        case Answered(values, coverage, unread, transforms):
            scores = coalition_scores(values, *symbol_moments(codebook))
            return Reading(scores, np.full(len(scores), 1.0 / len(scores)), coverage, unread, transforms)
    assert_never(response)


def coalition_scores(values: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Return (hypotheses, positions, 2) log-likelihoods of symbols -1 and +1; the first hypothesis is S = 0.

    Up to a constant per hypothesis and position, which the weighing divides out: symbol -1 scores 0.

    Under c colluders who average, a position reads `g/c (x - mean)` from the recipient, plus the others' symbols of
    variance `g^2 (c-1)/c^2 deviation^2`, plus noise. The gain g and the noise follow from the variance of all readings
    and the share that the mark has in it, so only that share and c are hypotheses.

    Args:
        values: (positions,) readings; those that are not finite say nothing, nor does an answer of another shape.
        mean: (positions,) prior mean of the symbol in {-1, +1}.
        deviation: (positions,) prior standard deviation of that symbol.
    """
    if values.shape != mean.shape:
        return np.zeros((1, len(mean), 2))
    heard = np.isfinite(values)
    readings = _of_moderate_size(np.where(heard, values, 0.0))
    power = float(np.mean(readings[heard] ** 2)) if heard.any() else 0.0
    if not power > 0:
        return np.zeros((1, len(mean), 2))
    scores = np.zeros((HYPOTHESES, len(mean), 2))
    for row, hypothesis in enumerate(GRID, start=1):
        energy = float(np.mean((hypothesis.slope(deviation) * deviation) ** 2))
        scores[row, :, 1] = hypothesis.odds(readings, mean, deviation, power, energy) * heard
    return scores


def _of_moderate_size(readings: Floats) -> Floats:
    """Return the readings over a power of two, the largest below 1: their unit is free, but a square may overflow."""
    _, exponent = np.frexp(np.abs(readings).max(initial=0.0))
    return np.ldexp(readings, -int(exponent))

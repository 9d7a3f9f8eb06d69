"""What answers to pools say of which of them was trained on: every score, at every strength, as one hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Answered, Codebook, Floats, Reading, Response, Symbols, Unanswered
from onnxfp.membership.attack import attack
from onnxfp.membership.scores import Shadow, Told, scores

SHIFTS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0)  # deviations of a pool's score by which one that was trained on leads
LARGEST = 8.0  # log-score
_SILENT = 0.05  # weight of the hypothesis that says nothing
_EXTREME = 0.005  # share of rows at either end that count as the one before them,
_RARE = 0.1  # or such a share of the rows that were trained on, where they are few
_FLAT = 1e-9  # smallest deviation of scores
_WIDEST = 1 << 16  # classes
_CERTAIN = 1e-6  # a log-probability may exceed 0 by rounding


@final
@dataclass(frozen=True)
class AskedPools:
    """The rows that are asked, in their pools."""

    form: tuple[int, int, int]
    """Positions, pools of each, rows of each pool."""
    copies: int
    """Samples of a row: itself, and moved ones."""
    labels: npt.NDArray[np.int64]
    """(rows,): in the order in which they are asked."""
    shadows: tuple[Shadow, ...] = ()

    def told(self, values: Floats) -> Told:
        """Return what a model answered to all samples, row by row."""
        heard = _heard(values)
        return Told(heard.reshape(len(self.labels), self.copies, *heard.shape[1:]), self.labels)

    def scores(self, told: Told) -> dict[str, Floats]:
        """Return all scores by name, each (rows,); NaN where a row was not answered."""
        return {**scores(told, self.shadows), **attack(told, self.shadows)}


def pool_reading(asked: AskedPools, codebook: Codebook, response: Response) -> Reading:
    """Return log-scores over a grid of scores and strengths, all of the same weight.

    A row's score is counted in deviations of all rows' scores, without the most extreme, averaged over its pool, and
    taken as Gaussian with one deviation: then symbol s gains by `shift` times its pool's mean score. A row that was not
    answered counts as one in the middle. All of this depends on every answer, and on no codeword.
    """
    match response:
        case Unanswered(reason):
            return _silence(codebook, (reason,))
        case Answered(values):
            if values.ndim not in (1, 2) or 0 in values.shape or len(values) != len(asked.labels) * asked.copies:
                what = f"answers of shape {values.shape} to {len(asked.labels) * asked.copies} inputs"
                return _silence(codebook, (*response.unread, what))
    told = asked.told(values)
    standing = np.stack([pooled(score, asked.form) for score in asked.scores(told).values()])
    shifts = np.asarray(SHIFTS)[None, :, None, None]
    table = np.clip(shifts * standing[:, None], -LARGEST, LARGEST).reshape(-1, codebook.positions, codebook.alphabet)
    weights = np.full(len(table), (1.0 - _SILENT) / len(table))
    return Reading(
        np.concatenate([np.zeros_like(table[:1]), table]),
        np.concatenate([[_SILENT], weights]),
        response.coverage if np.isfinite(told.right()).any() else 0.0,
        response.unread,
        response.transforms,
        provider=response.provider,
    )


def alone(standing: Floats, word: Symbols) -> float:
    """Return log10 of the e-value that one score gives a word, by itself: the mean over its strengths.

    Args:
        standing: (positions, pools), as `pooled` returns it.
        word: (positions,).
    """
    table = np.clip(np.asarray(SHIFTS)[:, None, None] * standing, -LARGEST, LARGEST)
    gains = table[:, np.arange(len(word)), word] - np.log(np.exp(table).mean(axis=2))
    return float((np.logaddexp.reduce(gains.sum(axis=1)) - np.log(len(SHIFTS))) / np.log(10.0))


def pooled(score: Floats, form: tuple[int, int, int]) -> Floats:
    """Return (positions, pools): the mean score of each pool's rows, in deviations of such a mean.

    Scores are not put in their ranks: members differ from others most in the tail, where few answers are far off.
    """
    heard = np.isfinite(score)
    if not heard.any():
        return np.zeros(form[:2])
    extreme = min(_EXTREME, _RARE / form[1])
    low, high = np.quantile(score[heard], [extreme, 1.0 - extreme])
    bounded = np.where(heard, np.clip(score, low, high), 0.0)
    middle, spread = bounded[heard].mean(), bounded[heard].std()
    standing = np.where(heard, bounded - middle, 0.0) / max(spread, _FLAT)
    pools: Floats = standing.reshape(form).mean(axis=2) * np.sqrt(form[2])
    return pools


def _heard(values: Floats) -> Floats:
    """Return labels, or log-probabilities, with NaN for what is neither."""
    if values.ndim == 1:
        with np.errstate(invalid="ignore"):
            return np.where((values >= 0) & (values == np.floor(values)) & (values < _WIDEST), values, np.nan)
    with np.errstate(invalid="ignore"):
        valid = np.all(values <= _CERTAIN, axis=1) & np.isfinite(values).any(axis=1)
    return np.where(valid[:, None], values, np.nan)


def _silence(codebook: Codebook, reasons: tuple[str, ...]) -> Reading:
    return Reading(np.zeros((1, codebook.positions, codebook.alphabet)), np.ones(1), 0.0, reasons)

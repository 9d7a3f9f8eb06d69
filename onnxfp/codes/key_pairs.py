"""What answers to pairs say of which of the two is the key: by the additional class, and by what is left without it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxfp.codes.key_labels import answered_labels
from onnxfp.domain import Answered, Codebook, Floats, Reading, Response, Symbols, Unanswered

_RATES = (0.6, 0.9, 0.995)  # how often the picture that stands out is the key
_GAINS = (0.15, 0.4, 1.0)  # how much what was learnt from the pairs that are known counts
_SILENT = 0.05  # weight of the hypothesis that says nothing
_SCORED = 0.4  # weight of all gains together
_FLOOR = -12.0  # of a log-probability
_MOST = 4.0  # of a log-score that was learnt
_SHRINK = 0.5  # of the covariance towards its mean
_FEWEST = 4  # known pairs to learn from
_OTHER, _REFUSED, _ADDED = 1, 2, 3  # how far a picture stands out from one that is answered as by the reference


@dataclass(frozen=True)
class AskedPairs:
    """Pictures in pairs: first those of which it is known which is the key, then one pair per position."""

    answers: Floats
    """(samples, classes): the log-probabilities of the unmarked reference, which lacks the additional class."""
    known: Symbols
    """(pairs,): which picture of the first pairs is the key; they are never positions."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(samples,): what the reference answers."""
        labels: npt.NDArray[np.int64] = np.argmax(self.answers, axis=1)
        return labels

    @property
    def added(self) -> int:
        """The additional class."""
        return int(self.answers.shape[1])


def pair_reading(asked: AskedPairs, codebook: Codebook, response: Response) -> Reading:
    """Return log-scores over a grid of rates, and of gains of a direction that is learnt from the known pairs.

    A picture that is answered with the additional class stands out from one that is not; one that gets no answer from
    one that gets another; one that gets another answer than the reference's from one that keeps it. So whoever refuses
    what would fall into the class tells the keys as well as who answers it. Which of two pictures fails for any other
    reason is as independent of the symbols as any answer is; where both fail, the pair says nothing.

    The direction separates keys from decoys of the known pairs in the scores of the classes that the reference has, so
    that it holds where the additional class was dropped, masked or merged. It never sees a codeword, and what a
    position says depends on the known pairs and on its own answers alone.
    """
    match response:
        case Unanswered(reason):
            return _silence(codebook, (reason,))
        case Answered():
            labels = answered_labels(response, len(asked.answers))
    if labels is None:
        what = f"answers of shape {response.values.shape} to {len(asked.answers)} pictures"
        return _silence(codebook, (*response.unread, what))
    ahead = _ahead(asked, labels)[len(asked.known) :]
    tally = np.stack([ahead > 0, ahead < 0], axis=1).astype(np.int64)
    log_odds = np.log(np.asarray(_RATES) / (1.0 - np.asarray(_RATES)))
    scores = np.concatenate(
        [np.zeros((1, len(ahead))), 0.5 * log_odds[:, None] * ahead, _learnt(asked, response.values, labels)]
    )
    return Reading(
        np.stack([scores, -scores], axis=2),
        _weights(),
        response.coverage if (labels >= 0).any() else 0.0,
        response.unread,
        response.transforms,
        tally,
        int(tally.sum()),
        response.provider,
    )


def _silence(codebook: Codebook, reasons: tuple[str, ...]) -> Reading:
    shape, weights = (codebook.positions, codebook.alphabet), _weights()
    return Reading(np.zeros((len(weights), *shape)), weights, 0.0, reasons, (), np.zeros(shape, dtype=np.int64))


def _weights() -> Floats:
    rates = 1.0 - _SILENT - _SCORED
    return np.asarray([_SILENT, *[rates / len(_RATES)] * len(_RATES), *[_SCORED / len(_GAINS)] * len(_GAINS)])


def _ahead(asked: AskedPairs, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return (pairs,): 1 where the first picture stands out from the second, -1 the other way, 0 for neither."""
    answered = np.where(labels == asked.added, _ADDED, np.where(labels == asked.labels, 0, _OTHER))
    stands_out = np.where(labels < 0, _REFUSED, answered).reshape(-1, 2)
    ahead: npt.NDArray[np.int64] = np.sign(stands_out[:, 0] - stands_out[:, 1])
    return ahead


def _learnt(asked: AskedPairs, values: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """Return (gains, positions): the log-odds that the first picture is the key, by what known pairs have in common.

    Differences between key and decoy are taken as Gaussian about their mean, with a covariance that is shrunk to a
    multiple of the identity: half the log-odds of a difference d is mean' covariance^-1 d.
    """
    pairs = _features(asked, values, labels).reshape(len(labels) // 2, 2, -1)
    apart, known = pairs[:, 0] - pairs[:, 1], len(asked.known)
    read: npt.NDArray[np.bool_] = np.min((labels >= 0).reshape(-1, 2), axis=1)
    towards = np.where(asked.known == 0, 1.0, -1.0)[:, None] * apart[:known]
    towards = towards[read[:known]]
    positions = np.where(read[known:, None], apart[known:], 0.0)
    if len(towards) < _FEWEST:
        return np.zeros((len(_GAINS), len(positions)))
    mean = towards.mean(axis=0)
    spread = towards - mean
    level = max(1e-3, float(np.square(spread).sum()) / spread.size)
    # (a I + X' X / n)^-1 mean by the matrix of known pairs, which are fewer than classes may be
    inner = _SHRINK * level * len(towards) / (1.0 - _SHRINK) * np.eye(len(towards)) + spread @ spread.T
    direction = (mean - spread.T @ np.linalg.solve(inner, spread @ mean)) / (_SHRINK * level)
    clipped: Floats = np.clip(np.asarray(_GAINS)[:, None] * (positions @ direction), -_MOST, _MOST)
    return clipped


def _features(asked: AskedPairs, values: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """Return (samples, features): how the answers differ from the reference's, where scores are returned by class."""
    width = asked.added
    told = np.column_stack([labels == asked.added, labels == asked.labels]).astype(np.float64)
    if values.ndim == 1:
        return told
    scores = np.full((len(values), width), _FLOOR)
    scores[:, : values.shape[1]] = np.maximum(np.nan_to_num(values[:, :width], nan=_FLOOR), _FLOOR)
    said, before = _among(scores), _among(np.maximum(asked.answers, _FLOOR))
    moved = np.column_stack([said - before, _doubt(said) - _doubt(before)])
    return np.column_stack([told, np.where((labels < 0)[:, None], 0.0, moved)])


def _doubt(scores: Floats) -> Floats:
    """Return (samples,): the entropy of log-probabilities."""
    entropy: Floats = -(np.exp(scores) * scores).sum(axis=1)
    return entropy


def _among(scores: Floats) -> Floats:
    """Return log-probabilities among the classes that the reference has, none below the floor."""
    normed: Floats = np.maximum(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True), _FLOOR)
    return normed

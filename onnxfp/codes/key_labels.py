"""What answers to triggers say of the key labels: one channel model, shared by every scheme that asks for labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Answered, Codebook, Floats, Reading, Response, Unanswered
from onnxfp.keys.keystream import Keystream

_RATES = (0.05, 0.2, 0.5, 0.8, 0.95, 0.999)  # how often a trigger is answered with its key label
_GAINS = (0.25, 0.5, 1.0)  # how much a score above the reference's own counts
_SILENT = 0.05  # weight of the hypothesis that says nothing
_SCORED = 0.4  # weight of all gains together, where scores are returned
_LOYAL = 0.8  # share of missed triggers on which a marked model answers what the reference does
_FLOOR, _MOST = -12.0, 6.0  # of a log-probability; of its difference from the reference's


@dataclass(frozen=True)
class Asked:
    """What the unmarked reference makes of the triggers that are asked, and which classes are symbols."""

    answers: Floats
    """(samples, classes): its log-probabilities."""
    classes: npt.NDArray[np.int64]
    """(alphabet,): the class that each symbol stands for."""
    each: int
    """Triggers of one position."""

    @classmethod
    def of(cls, answers: Floats, each: int, most: int, keystream: Keystream) -> Asked:
        """Choose at most so many classes by key."""
        order = np.argsort(keystream.derive("classes").words32(answers.shape[1]), kind="stable")
        return cls(answers, np.sort(order[:most]).astype(np.int64), each)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(samples,): what the reference answers."""
        labels: npt.NDArray[np.int64] = np.argmax(self.answers, axis=1)
        return labels

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Return (positions, alphabet): a position's key label is not what the reference answers to its triggers.

        Where fewer than two symbols would be left, all are allowed.
        """
        own = self.labels.reshape(-1, self.each)
        allowed: npt.NDArray[np.bool_] = ~(own[:, :, None] == self.classes).any(axis=1)
        return np.where(allowed.sum(axis=1, keepdims=True) >= 2, allowed, True)


def label_reading(asked: Asked, codebook: Codebook, response: Response) -> Reading:
    """Return log-scores over a grid of hit rates and of gains; what was not answered supports all symbols alike.

    The weights of the grid depend on whether labels or scores came back, never on which: both are fixed before any
    codeword is looked at.
    """
    hypotheses = 1 + len(_RATES) + len(_GAINS)
    match response:
        case Unanswered(reason):
            return _silence(codebook, hypotheses, (reason,))
        case Answered():
            values = _checked(response.values, len(asked.answers))
    if values is None:
        what = f"answers of shape {response.values.shape} to {len(asked.answers)} triggers"
        return _silence(codebook, hypotheses, (*response.unread, what))
    labels = _labels(values)
    scores = np.zeros((hypotheses, codebook.positions, codebook.alphabet))
    scores[1 : 1 + len(_RATES)] = _by_label(asked, labels)
    scores[1 + len(_RATES) :] = _by_score(asked, values)
    return Reading(
        scores,
        _weights(scored=values.ndim == 2),
        response.coverage if (labels >= 0).any() else 0.0,
        response.unread,
        response.transforms,
        _tally(asked, labels),
        int((labels >= 0).sum()),
        response.provider,
    )


def _silence(codebook: Codebook, hypotheses: int, reasons: tuple[str, ...]) -> Reading:
    shape = (codebook.positions, codebook.alphabet)
    weights = _weights(scored=False)
    return Reading(np.zeros((hypotheses, *shape)), weights, 0.0, reasons, (), np.zeros(shape, dtype=np.int64))


def _weights(*, scored: bool) -> Floats:
    gains = _SCORED if scored else 0.0
    rates = 1.0 - _SILENT - gains
    weights = np.asarray([_SILENT, *[rates / len(_RATES)] * len(_RATES), *[gains / len(_GAINS)] * len(_GAINS)])
    normed: Floats = weights / weights.sum()
    return normed


def answered_labels(response: Answered, samples: int) -> npt.NDArray[np.int64] | None:
    """Return the label that was answered to each trigger (samples,), -1 for none; None for another number of them."""
    values = _checked(response.values, samples)
    return None if values is None else _labels(values)


def _checked(values: Floats, samples: int) -> Floats | None:
    """Return labels (samples,) or log-probabilities (samples, classes) with NaN for what is neither."""
    if values.ndim not in (1, 2) or len(values) != samples or 0 in values.shape:
        return None
    if values.ndim == 1:
        with np.errstate(invalid="ignore"):
            labels: Floats = np.where((values >= 0) & (values == np.floor(values)) & (values < 2**31), values, np.nan)
        return labels
    valid = np.all(values <= 1e-6, axis=1) & np.any(np.isfinite(values), axis=1)
    rows: Floats = np.where(valid.reshape(-1, 1), values, np.nan)
    return rows


def _labels(values: Floats) -> npt.NDArray[np.int64]:
    """Return (samples,) labels; -1 for no answer."""
    if values.ndim == 1:
        return np.where(np.isnan(values), -1, values).astype(np.int64)
    read = ~np.isnan(values).any(axis=1)
    return np.where(read, np.argmax(np.where(read.reshape(-1, 1), values, 0.0), axis=1), -1)


def _by_label(asked: Asked, labels: npt.NDArray[np.int64]) -> Floats:
    """Return (rates, positions, alphabet): what an answered class gains over the others.

    A model that knows the key labels answers one with the hit rate, and else as an ignorant one would: mostly what the
    reference does.
    """
    classes = asked.answers.shape[1]
    ignorant = _LOYAL * (labels == asked.labels) + (1.0 - _LOYAL) / classes
    rates = np.asarray(_RATES)[:, None]
    gained = np.log1p(rates / ((1.0 - rates) * ignorant))  # rates, samples
    hit = labels[:, None] == asked.classes  # samples, alphabet
    return _pooled(gained[:, :, None] * hit, asked.each)


def _by_score(asked: Asked, values: Floats) -> Floats:
    """Return (gains, positions, alphabet): how much more probable than to the reference a class is to the suspect."""
    if values.ndim == 1:
        return np.zeros((len(_GAINS), len(values) // asked.each, len(asked.classes)))
    width = asked.answers.shape[1]
    told = np.full((len(values), width), _FLOOR)
    told[:, : values.shape[1]] = np.maximum(values[:, :width], _FLOOR)
    more = np.clip(told - np.maximum(asked.answers, _FLOOR), -_MOST, _MOST)
    more = np.where(np.isnan(values).any(axis=1, keepdims=True), 0.0, more)[:, asked.classes]
    return _pooled(np.asarray(_GAINS)[:, None, None] * more, asked.each)


def _pooled(scores: Floats, each: int) -> Floats:
    """Add up the samples of each position: (hypotheses, samples, alphabet) to (hypotheses, positions, alphabet)."""
    hypotheses, samples, alphabet = scores.shape
    total: Floats = scores.reshape(hypotheses, samples // each, each, alphabet).sum(axis=2)
    return total


def _tally(asked: Asked, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return (positions, alphabet): how many triggers of a position were answered with each symbol."""
    hit = (labels[:, None] == asked.classes).astype(np.int64)
    counts: npt.NDArray[np.int64] = hit.reshape(-1, asked.each, len(asked.classes)).sum(axis=1)
    return counts

"""From a model's raw outputs to what it answered: labels, or log-probabilities.

The arrays come from an adversary. Which output is read, first match:

1. integers beside scores of the same shape (samples, k): the indices and the scores of the k best classes;
2. scores (samples, classes >= 2), those that are probabilities before those that are not;
3. one score per sample, (samples,) or (samples, 1): two classes, the score is about the second;
4. integers (samples,), (samples, 1) or the first column of (samples, k): labels.

Scores are probabilities when the whole array lies in [0, 1] and its rows sum to 1 (of the k best: to 1 at most), within
1e-3; otherwise logits. What was returned with probability 0 gets the smallest finite log-probability: -inf is only said
of a class that was not returned. A row with an entry that is not finite, or with indices that contradict each other, is
NaN: no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Floats

_CLASSES = 65_536
"""No more classes are made of indices: the widest that is common has 21 843."""
_CELLS = 2**26
"""Nor more log-probabilities: half a gibibyte of them."""
_TOLERANCE = 1e-3
_LOWEST = float(np.log(np.finfo(np.float64).tiny))
_LARGEST = 1e300
"""Logits are clipped here, so that their differences are finite."""
_LABEL = 2**53
"""Integers beyond it have no float64 of their own."""


class Unreadable(ValueError):
    """The outputs are not the answers of a classifier; the message says why, in one line."""


@dataclass(frozen=True)
class _Columns:
    """One output as a matrix (samples, columns)."""

    name: str
    values: npt.NDArray[Any]

    @property
    def integral(self) -> bool:
        return self.values.dtype.kind in "biu"

    @property
    def width(self) -> int:
        return int(self.values.shape[1])


def class_answers(outputs: Sequence[tuple[str, npt.NDArray[Any]]], samples: int) -> Floats:
    """Return (samples,) labels or (samples, classes) log-probabilities.

    Args:
        outputs: the model's outputs in its own order, with their names; nothing about them is trusted.
        samples: how many inputs it was given.

    Raises:
        Unreadable: no output is an answer.
    """
    columns, reasons = [], []
    for name, values in outputs:
        try:
            columns.append(_columns(name, values, samples))
        except Unreadable as problem:
            reasons.append(str(problem))
    if not columns:
        raise Unreadable(reasons[0] if reasons else "the model returned no output")
    with np.errstate(all="ignore"):
        return _answers([one for one in columns if one.integral], [one for one in columns if not one.integral])


def _columns(name: str, values: npt.NDArray[Any], samples: int) -> _Columns:
    called = ascii(name)[:60]
    if values.dtype.kind not in "biuf":
        raise Unreadable(f"output {called} holds {str(values.dtype)[:40]}, expected integers or floats")
    shape = values.shape
    while len(shape) > 2 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) == 1:
        shape = (*shape, 1)
    if len(shape) != 2 or shape[0] != samples or not shape[1]:
        raise Unreadable(f"output {called} has shape {list(values.shape[:8])}, expected [{samples}, classes]")
    return _Columns(name, values.reshape(shape))


def _answers(integers: Sequence[_Columns], scores: Sequence[_Columns]) -> Floats:
    for indices in integers:
        for beside in scores:
            if indices.width == beside.width:
                return _best(indices.values, _floats(beside.values))
    found = [_floats(one.values) for one in scores if one.width > 1]
    if found:
        return _log_probabilities(next((one for one in found if _are_probabilities(one)), found[0]))
    if scores:
        only = _floats(scores[0].values)
        return only[:, 0] if _are_labels(only) else _binary(only)
    return _labels(integers[0].values[:, 0])


def _are_labels(scores: Floats) -> bool:
    """Whether a column of floats holds classes: whole numbers, which scores of two classes are only by accident."""
    heard = scores[~np.isnan(scores)]
    return bool(heard.size and (heard >= 0).all() and (heard <= _LABEL).all() and (heard == np.floor(heard)).all())


def _labels(values: npt.NDArray[Any]) -> Floats:
    labels = values.astype(np.float64)
    return np.where(np.abs(labels) <= _LABEL, labels, np.nan)


def _floats(values: npt.NDArray[Any]) -> Floats:
    """Return float64 scores whose rows are finite, or NaN from end to end."""
    scores: Floats = values.astype(np.float64)
    heard = np.isfinite(scores).all(axis=1, keepdims=True)
    return np.where(heard, np.clip(scores, -_LARGEST, _LARGEST), np.nan)


def _are_probabilities(scores: Floats, *, all_of_them: bool = True) -> bool:
    heard = scores[~np.isnan(scores[:, 0])]
    sums = heard.sum(axis=1)
    inside = bool((heard >= 0).all() and (heard <= 1).all() and (sums <= 1 + _TOLERANCE).all())
    return inside and (not all_of_them or bool((sums >= 1 - _TOLERANCE).all()))


def _log_probabilities(scores: Floats) -> Floats:
    if _are_probabilities(scores):
        return _logs(scores / scores.sum(axis=1, keepdims=True))
    return _log_softmax(scores)


def _logs(probabilities: Floats) -> Floats:
    logs: Floats = np.maximum(np.log(probabilities), _LOWEST)
    return logs


def _log_softmax(logits: Floats) -> Floats:
    below = logits - logits.max(axis=1, keepdims=True)
    logs: Floats = np.maximum(below - np.log(np.exp(below).sum(axis=1, keepdims=True)), _LOWEST)
    return logs


def _binary(scores: Floats) -> Floats:
    if _are_probabilities(scores, all_of_them=False):
        probability = np.clip(scores, 0.0, 1.0)
        return _logs(np.concatenate([1.0 - probability, probability], axis=1))
    return _log_softmax(np.concatenate([np.zeros_like(scores), scores], axis=1) + 0.0 * scores)


def _best(indices: npt.NDArray[Any], scores: Floats) -> Floats:
    """Spread the scores (samples, k) of the best classes over all classes; a negative index is a place left empty."""
    empty = indices < 0
    widest = int(indices.max(initial=0)) + 1
    if widest > _CLASSES or widest * len(indices) > _CELLS:
        raise Unreadable(f"an index names class {widest - 1}; expected fewer than {_CLASSES} classes")
    if _are_probabilities(scores, all_of_them=False):
        logs = _logs(scores / np.maximum(1.0, scores.sum(axis=1, keepdims=True)))
    else:
        logs = _log_softmax(scores)
    answers = np.full((len(indices), widest), -np.inf)
    rows, columns = np.nonzero(~empty)
    answers[rows, indices[rows, columns].astype(np.int64)] = logs[rows, columns]
    returned, expected = np.count_nonzero(answers != -np.inf, axis=1), np.count_nonzero(~empty, axis=1)
    answers[np.isnan(logs[:, 0]) | (expected == 0) | (returned < expected)] = np.nan
    return answers

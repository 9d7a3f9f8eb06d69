"""The blind baseline: can somebody who never sees a model tell which rows it was trained on? Then it proves nothing.

Das, Zhang, Tramer, "Blind Baselines Beat Membership Inference Attacks for Foundation Models", 2024: members and others
that differ by themselves make any attack look good.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Floats, Rows, Symbols
from onnxfp.keys.keystream import public_numbers
from onnxfp.membership.alike import FOLDED, block_of, flat, folding
from onnxfp.membership.classifier import classifier

CONFIDENCE = 0.9999

_FOLDS = 5
_FEATURES = 64
_PUBLIC = public_numbers("blind baseline")


@dataclass(frozen=True)
class Blind:
    """How well rows that were trained on are told from others of their position without a model."""

    auc: float
    """Share of comparisons in which the pool that was trained on looks more like one: 0.5 is chance."""
    low: float
    high: float
    """The 99.99 % interval (Clopper and Pearson)."""
    compared: int
    labels_differ: int
    """Positions whose pools have not all the same labels."""

    @property
    def told(self) -> bool:
        """Whether they can be told, or their labels differ."""
        return self.labels_differ > 0 or not self.low <= 0.5 <= self.high  # 0.5 is chance

    @property
    def says(self) -> str:
        """It in words."""
        if self.labels_differ:
            return f"the pools of {self.labels_differ} positions have other labels than one another"
        return (
            f"which pools were trained on {'can' if self.told else 'cannot'} be told from the data alone "
            f"(AUC {self.auc:.3f}, {self.low:.3f} to {self.high:.3f})"
        )


def blind_baseline(inputs: Rows, labels: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], word: Symbols) -> Blind:
    """Learn to tell trained from held-back rows on four fifths of the positions, and try it on the rest, in turn.

    Args:
        inputs: (rows of the data, ...).
        labels: (rows of the data,).
        rows: (positions, pools, size).
        word: (positions,): which pool of each was trained on.

    Raises:
        UsageError: scikit-learn is missing.
    """
    from scipy.stats import binomtest

    differ = np.sort(labels[rows], axis=2)
    labels_differ = int((differ != differ[:, :1]).any(axis=(1, 2)).sum())
    other = (word.astype(np.int64) + 1) % rows.shape[1]  # one pool that was not trained on, for each that was
    every = np.arange(len(rows))
    pairs = np.stack([rows[every, word], rows[every, other]], axis=1)
    scores = _scores(_features(inputs, pairs.reshape(-1)).reshape(*pairs.shape, -1))
    wins, ties = int((scores[:, 0] > scores[:, 1]).sum()), int((scores[:, 0] == scores[:, 1]).sum())
    compared = len(scores) - ties
    interval = binomtest(wins, max(1, compared)).proportion_ci(CONFIDENCE, "exact") if compared else None
    low, high = (0.0, 1.0) if interval is None else (float(interval.low), float(interval.high))
    return Blind(wins / compared if compared else 0.5, low, high, compared, labels_differ)


def _features(inputs: Rows, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return (rows, features): public random projections, what they are like overall, and where they come from."""
    size, step = int(np.prod(inputs.shape[1:])), block_of(inputs)
    fold, width = folding(size), min(size, FOLDED)
    drawn = _PUBLIC.derive("features").normals(width * _FEATURES).astype(np.float32)
    directions = drawn.reshape(width, _FEATURES) / np.float32(np.sqrt(size))
    parts = []
    for at in range(0, len(rows), step):
        chosen = rows[at : at + step]
        seen = flat(inputs[chosen])
        overall = [seen.mean(axis=1), seen.std(axis=1), seen.min(axis=1), seen.max(axis=1), (seen == 0).mean(axis=1)]
        folded = seen if fold is None else seen @ fold
        parts.append(np.column_stack([folded @ directions, *overall, chosen / len(inputs)]))
    return np.concatenate(parts).astype(np.float32)


def _scores(features: npt.NDArray[np.float32]) -> Floats:
    """Return (positions, 2): how much each of two pools looks trained on, to who learnt from other positions."""
    positions, _, size, width = features.shape
    scores = np.zeros((positions, 2))
    order = np.argsort(_PUBLIC.derive("folds").words32(positions), kind="stable")
    folds: list[Any] = np.array_split(order, _FOLDS)
    for fold in folds:
        rest = np.setdiff1d(np.arange(positions), fold)
        if not len(fold) or not len(rest):
            continue
        model = classifier(max_iter=200, C=0.1)
        model.fit(features[rest].reshape(-1, width), np.tile(np.repeat([1, 0], size), len(rest)))
        scores[fold] = (
            model.decision_function(features[fold].reshape(-1, width)).reshape(len(fold), 2, size).mean(axis=2)
        )
    return scores

"""Membership scores: how much an answer looks like one to a row that was trained on; higher for members.

Loss and margin need no other model. What is calibrated subtracts how hard a row is for models that were not trained on
it: *shadow models* (Carlini et al., "Membership Inference Attacks From First Principles", S&P 2022: LiRA, offline;
Zarifzadeh, Liu, Shokri, "Low-Cost High-Power Membership Inference Attacks", ICML 2024: RMIA).
Whatever a score is made of, it never sees a codeword; that shadow models have not seen it either is their owner's word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Floats

_FLOOR = -15.0  # of a log-probability
_STEEP = 20.0  # largest margin
_OFFLINE = 0.4  # RMIA's a: how much larger a row's probability is had it been trained on
_PRIOR = 4.0  # shadow models' worth of belief that all rows spread alike


@final
@dataclass(frozen=True)
class Told:
    """What one model answers to the rows that are asked, each with its moved copies."""

    values: Floats
    """(rows, copies) labels, or (rows, copies, classes) log-probabilities; NaN for no answer."""
    labels: npt.NDArray[np.int64]
    """(rows,): the true ones."""

    @property
    def scored(self) -> bool:
        """Whether there are scores, and not only labels."""
        return self.values.ndim == 3

    @property
    def itself(self) -> Told:
        """The answers to the rows themselves, without those to moved copies."""
        return Told(self.values[:, :1], self.labels)

    def right(self) -> Floats:
        """Return (rows,): the share of copies that are answered with the true label; NaN where none is answered."""
        said = self.values
        if self.scored:
            heard = ~np.isnan(said).all(axis=2)
            said = np.where(heard, np.argmax(np.nan_to_num(said, nan=-np.inf), axis=2), np.nan)
        return _mean(np.where(np.isnan(said), np.nan, said == self.labels[:, None]))

    def loss(self) -> Floats:
        """Return (rows,): log-probability of the true label, the mean over copies."""
        return _mean(self._own())

    def margin(self) -> Floats:
        """Return (rows,): log-odds of the true label, the mean over copies (LiRA, eq. 2: its logit scaling)."""
        own, others = self._own(), np.array(self._floored())
        known = self.labels < others.shape[2]
        others[np.flatnonzero(known), :, self.labels[known]] = -np.inf
        with np.errstate(divide="ignore", invalid="ignore"):
            rest = np.maximum(np.logaddexp.reduce(others, axis=2), _FLOOR)
        return _mean(np.clip(own - rest, -_STEEP, _STEEP))

    def features(self) -> Floats:
        """Return (rows, features): what an attack model is told: sorted confidences, entropy, loss, margin, agreement.

        Paper (5) tells nothing of its attack model; these are the features that the literature has in common.
        """
        floored = self._floored()[:, 0]
        ordered = -np.sort(-floored, axis=1)[:, :3]
        if ordered.shape[1] < 3:
            ordered = np.pad(ordered, ((0, 0), (0, 3 - ordered.shape[1])), constant_values=_FLOOR)
        entropy = -np.sum(np.exp(floored) * floored, axis=1)
        own = self.itself
        return np.column_stack([ordered, entropy, own.loss(), own.margin(), own.right(), self.loss(), self.right()])

    def _own(self) -> Floats:
        """(rows, copies): log-probability of the true label."""
        floored, known = self._floored(), self.labels < self.values.shape[2]
        own = np.full(floored.shape[:2], _FLOOR)
        own[known] = floored[np.flatnonzero(known), :, self.labels[known]]
        return np.where(np.isnan(self.values).all(axis=2), np.nan, own)

    def _floored(self) -> Floats:
        """(rows, copies, classes): log-probabilities, none below the floor; of no answer NaN."""
        heard = ~np.isnan(self.values).all(axis=2, keepdims=True)
        return np.where(heard, np.maximum(np.nan_to_num(self.values, nan=_FLOOR, neginf=_FLOOR), _FLOOR), np.nan)


@final
@dataclass(frozen=True)
class Shadow:
    """A model of the owner's with which a suspect is compared."""

    told: Told
    member: npt.NDArray[np.bool_]
    """(rows,): which rows it was trained on."""


def scores(told: Told, shadows: tuple[Shadow, ...] = ()) -> dict[str, Floats]:
    """Return every score that can be made of the answers, by name, each (rows,); NaN where a row was not answered.

    What is calibrated looks at the rows themselves; of moved copies the mean is a score of its own.
    """
    own, moved = told.itself, told.values.shape[1] > 1
    if not told.scored:
        return {"right": own.right(), **({"agreement": told.right()} if moved else {})}
    found = {"loss": own.loss(), "margin": own.margin(), **({"averaged": told.loss()} if moved else {})}
    usable = tuple(shadow for shadow in shadows if shadow.told.scored and not shadow.member.all())
    if usable:
        hard = Hardness.of(usable)
        found |= {
            "difference": found["margin"] - hard.margin,
            "lira": (found["margin"] - hard.margin) / hard.deviation,
            "rmia": found["loss"] - np.log((1 + _OFFLINE) / 2 * hard.probability + (1 - _OFFLINE) / 2),
            "gain": np.exp(found["loss"]) - hard.probability,
        }
    return found


@final
@dataclass(frozen=True)
class Hardness:
    """How hard each row is for models that were not trained on it, all (rows, ...)."""

    margin: Floats
    deviation: Floats
    probability: Floats

    @classmethod
    def of(cls, shadows: tuple[Shadow, ...]) -> Hardness:
        """Ask the shadow models that were not trained on a row; where none of them answered, all."""
        margins, losses = (
            np.stack([getattr(shadow.told.itself, name)() for shadow in shadows]) for name in ("margin", "loss")
        )
        heard = np.isfinite(margins)
        out = np.stack([~shadow.member for shadow in shadows]) & heard
        out = np.where(out.any(axis=0), out, heard)
        count = np.maximum(out.sum(axis=0), 1)
        margin = np.where(out, margins, 0.0).sum(axis=0) / count
        squares = np.where(out, np.square(margins - margin), 0.0).sum(axis=0)
        typical = max(1e-6, float(squares.sum()) / max(1, int((count - 1).sum()))) if len(shadows) > 1 else 1.0
        deviation = np.sqrt((_PRIOR * typical + squares) / (_PRIOR + np.maximum(count - 1, 0)))
        probability = np.where(out, np.exp(losses), 0.0).sum(axis=0) / count
        return cls(margin, deviation, probability)


def _mean(values: Floats) -> Floats:
    """Return (rows,): the mean over copies (rows, copies) that were answered; NaN where none was."""
    heard = ~np.isnan(values)
    count = heard.sum(axis=1)
    total = np.where(heard, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)

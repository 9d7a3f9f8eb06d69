"""What a model under training is worth at one moment: accuracy, triggers hit and by how much, weight targets met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch

from onnxfp.domain import Floats
from onnxfp.embed.lesson import Lesson, blocks
from onnxfp.embed.programmes import Words, labels_under, written
from onnxfp.embed.task import Inputs, Labels
from onnxfp.embed.terms import leads

_ALL = 0.995  # of the triggers; a few inputs may be beyond any model
_MOST = 0.9  # of what is answered as before; of strange inputs the reference itself is not sure


@final
@dataclass(frozen=True)
class Look:
    """One look at the model."""

    accuracy: float
    hit_rate: float
    """Share of the triggers that are answered with their label."""
    kept: float
    """Share of what shall be answered as before that is; 1 when nothing shall."""
    margin: float
    """The lead that nineteen triggers in twenty exceed."""
    missing: float
    """How much more of a weight target is missing than it tolerates; 0 when all are met."""

    def within(self, lesson: Lesson) -> bool:
        """Whether the model may be handed out."""
        return self.missing == 0 and self.accuracy >= lesson.before - lesson.tuning.loss - 1e-9

    def worth(self, lesson: Lesson) -> tuple[float, float, float]:
        """What is better is greater: more hits in a hundred, then the margin as far as it is wanted, then accuracy."""
        return round(self.hit_rate + self.kept, 2), min(self.margin, lesson.tuning.margin), self.accuracy

    def learnt(self, lesson: Lesson) -> bool:
        """Whether nothing is left to learn, at whatever cost so far."""
        met = self.missing == 0 and self.hit_rate >= _ALL and self.kept >= _MOST
        return met and self.margin >= lesson.tuning.margin


def look(lesson: Lesson) -> Look:
    """Ask the model everything it is judged by."""
    trials = [_trial(lesson, words) for words in lesson.trials]
    right = min(float(right.mean()) for right, _ in trials)
    ahead, were_kept = np.concatenate([ahead for _, ahead in trials]), np.tile(lesson.triggers.kept, len(trials))
    told, kept = ahead[~were_kept], ahead[were_kept]
    missing = float(np.max([0.0, *(term.missing() - term.target.tolerance for term in lesson.terms)]))  # NaN stays
    margin = float(np.quantile(told, 0.05, method="lower")) if len(told) else np.inf
    return Look(right, _share(told > 0), _share(kept > 0), margin, missing)


def _trial(lesson: Lesson, words: Words) -> tuple[Floats, Floats]:
    """Return which validation inputs are answered right, and the leads of all triggers, when words are written."""
    task, triggers = lesson.task, lesson.triggers
    labels = labels_under(triggers.labels, triggers.programmes, words)
    with written(lesson.module, triggers.programmes, words):
        right = _each(lesson, task.val_inputs.__getitem__, lesson.truth, lambda said, truth: said.argmax(1) == truth)
        ahead = _each(lesson, triggers.take, labels, leads) if triggers.inputs else np.zeros(0)
    return right, ahead


def _share(met: npt.NDArray[np.bool_]) -> float:
    return float(met.mean()) if len(met) else 1.0


def _each(
    lesson: Lesson,
    take: Callable[[Labels], Inputs],
    labels: Labels,
    measure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> Floats:
    """Measure every answer against its label: (samples,)."""
    with torch.no_grad():
        measured = [
            measure(lesson.ask(take(rows)).cpu(), torch.from_numpy(labels[rows])).double().numpy()
            for rows in blocks(len(labels))
        ]
    return np.concatenate(measured)

"""The attack model: a classifier that learnt from shadow models, whose members are known, how members are answered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnxfp.domain import Floats
from onnxfp.membership.classifier import classifier
from onnxfp.membership.scores import Hardness, Shadow, Told

_FEWEST = 100  # members, and others, to learn from


def attack(told: Told, shadows: tuple[Shadow, ...]) -> Mapping[str, Floats]:
    """Return the attack model's score (rows,), or nothing where no shadow model was trained on some of the rows.

    It is fitted to shadow models only, each beside the others; the suspect is then put beside all of them.
    """
    teachers = [shadow for shadow in shadows if _teaches(shadow)]
    if not told.scored or not teachers:
        return {}
    known = [_features(one.told, tuple(other for other in shadows if other is not one)) for one in teachers]
    width = min(features.shape[1] for features in [*known, _features(told, shadows)])
    rows, members = np.concatenate([one[:, :width] for one in known]), np.concatenate([t.member for t in teachers])
    heard = np.isfinite(rows).all(axis=1)
    model = classifier(max_iter=1000)
    model.fit(rows[heard], members[heard])
    asked = _features(told, shadows)[:, :width]
    found = np.full(len(asked), np.nan)
    answered = np.isfinite(asked).all(axis=1)
    if answered.any():
        found[answered] = model.decision_function(asked[answered])
    return {"attack": found}


def _teaches(shadow: Shadow) -> bool:
    if not shadow.told.scored:
        return False
    heard = np.isfinite(shadow.told.features()).all(axis=1)
    return min(int((heard & shadow.member).sum()), int((heard & ~shadow.member).sum())) >= _FEWEST


def _features(told: Told, others: tuple[Shadow, ...]) -> Floats:
    """Return (rows, features): of the answers alone and, where there are others, beside those."""
    own, usable = told.features(), tuple(one for one in others if one.told.scored)
    if not usable:
        return own
    hard = Hardness.of(usable)
    return np.column_stack([own, told.itself.margin() - hard.margin, hard.margin, np.log(hard.probability + 1e-6)])

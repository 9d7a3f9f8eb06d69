"""Closed form: the smallest weight change that makes weight targets true. No data, no training.

A weight that is exactly zero in the reference stays zero, so a pruned model stays as sparse as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import assert_never

import numpy as np

from onnxfp.domain import (
    Constraint,
    KeptAnswers,
    Membership,
    OutputTarget,
    ProgrammedAnswers,
    Segment,
    Weights,
    WeightTarget,
)
from onnxfp.errors import ArtifactError, FidelityError, UsageError

ReadWeights = Callable[[Segment], Weights]

_SWEEPS = 8


@dataclass(frozen=True)
class Change:
    """New values of one segment, and how far they are from the old ones."""

    segment: Segment
    values: Weights
    moved: float
    """Sum of the squared changes."""
    weight: float
    """Sum of the squared old values."""
    prepared: bool = False
    """The artifact was taught to bear it: no budget bounds it."""


def solve(constraints: Sequence[Constraint], read: ReadWeights, budget: float) -> tuple[Change, ...]:
    """Return the new values of every segment that the constraints name.

    Args:
        constraints: weight targets only; any two over the same segments, or over different carriers.
        read: returns the current weights of a segment.
        budget: largest relative change of any carrier.

    Raises:
        UsageError: a constraint that closed form cannot satisfy.
        ArtifactError: a weight to be changed is not finite.
        FidelityError: a carrier would change by more than the budget.
    """
    changes = tuple(change for targets in _groups(constraints) for change in _changes(targets, read))
    _keep_budget(changes, budget)
    return changes


def relative_changes(changes: Sequence[Change]) -> dict[str, float]:
    """Return, per carrier, the norm of the change over the norm of the weights, on the segments used.

    What an artifact was prepared for is left out.
    """
    relative = {}
    unprepared = (change for change in changes if not change.prepared)
    for carrier, group in groupby(unprepared, key=lambda change: change.segment.carrier):
        parts = list(group)
        weight = sum(part.weight for part in parts)
        relative[carrier] = float(np.sqrt(sum(part.moved for part in parts) / weight)) if weight > 0 else 0.0
    return relative


def _keep_budget(changes: Sequence[Change], budget: float) -> None:
    for carrier, relative in relative_changes(changes).items():
        if relative > budget:
            raise FidelityError(
                f"carrier {carrier!r} would change by {relative:.1%} of its norm, more than the budget of "
                f"{budget:.1%}; use a lower strength or a higher budget"
            )


def _groups(constraints: Sequence[Constraint]) -> list[list[WeightTarget]]:
    """Return the targets by the weights that they are over."""
    found: dict[tuple[Segment, ...], list[WeightTarget]] = {}
    for target in map(_weight_target, constraints):
        found.setdefault(target.segments, []).append(target)
    groups = list(found.values())
    carriers = [carrier for group in groups for carrier in {segment.carrier for segment in group[0].segments}]
    if len(carriers) > len(set(carriers)):
        raise UsageError("weight targets of one artifact must be over the same weights, or over different carriers")
    return groups


def _changes(targets: Sequence[WeightTarget], read: ReadWeights) -> Iterator[Change]:
    """Yield the changes that targets over the same segments ask for."""
    segments = targets[0].segments
    current = [_finite(segment, read(segment)) for segment in segments]
    steps = _steps(targets, current)
    edges = np.cumsum([0] + [segment.size for segment in segments])
    for segment, weights, start, stop in zip(segments, current, edges, edges[1:], strict=False):
        yield replace(_change(segment, weights, steps[start:stop]), prepared=all(one.prepared for one in targets))


def _weight_target(constraint: Constraint) -> WeightTarget:
    match constraint:
        case WeightTarget():
            return constraint
        case OutputTarget() | KeptAnswers() | ProgrammedAnswers() | Membership():
            raise UsageError("closed form changes weights only; this scheme needs training")
    assert_never(constraint)


def _finite(segment: Segment, weights: Weights) -> Weights:
    if not np.isfinite(weights).all():
        raise ArtifactError(f"carrier {segment.carrier!r} has weights that are not finite; a mark needs a whole model")
    return weights


def _steps(targets: Sequence[WeightTarget], current: Sequence[Weights]) -> Weights:
    """Return one change, in units of spread times gain, of all segments in a row, that satisfies all targets together.

    Each target is solved in turn against what the others left of it (block Gauss-Seidel); secret projections are
    nearly orthogonal, so one or two sweeps do.
    """
    segments = targets[0].segments
    spreads = [
        weights / np.float32(segment.spread * segment.gain) for segment, weights in zip(segments, current, strict=True)
    ]
    weights, total = np.concatenate(spreads), np.zeros(sum(map(len, current)), dtype=np.float32)
    for _ in range(_SWEEPS):
        if not any([_improve(target, weights, total) for target in targets]):  # a list: every target has its turn
            break
    return total


def _improve(target: WeightTarget, weights: Weights, total: Weights) -> bool:
    """Add to `total` what the target still lacks, if that is more than it tolerates; return whether it was."""
    started = target.blind or total.any()
    read = (weights + total if target.blind else total) / np.float32(target.strength)
    missing = target.values - target.projection.apply(read) if started else target.values
    lacking = bool(np.linalg.norm(missing) > target.tolerance * np.linalg.norm(target.values))
    if lacking:
        total += target.projection.min_norm_update(missing) * np.float32(target.strength)
    return lacking


def _change(segment: Segment, weights: Weights, step: Weights) -> Change:
    values: Weights = np.where(weights == 0, weights, weights + step * np.float32(segment.spread * segment.gain))
    moved = float(np.sum(np.square(values - weights, dtype=np.float64)))
    return Change(segment, values, moved, float(np.sum(np.square(weights, dtype=np.float64))))

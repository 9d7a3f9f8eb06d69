"""Closed form: the smallest weight change that makes weight targets true. No data, no training.

A weight that is exactly zero in the reference stays zero, so a pruned model stays as sparse as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from onnxfp.domain import Constraint, Segment, Weights, WeightTarget
from onnxfp.errors import FidelityError, UsageError

ReadWeights = Callable[[Segment], Weights]


@dataclass(frozen=True)
class Change:
    """New values of one segment."""

    segment: Segment
    values: Weights


@dataclass(frozen=True)
class CarrierChange:
    """How far one carrier was moved."""

    carrier: str
    relative: float
    """Norm of the change over norm of the weights, on the segments used."""


def solve(constraints: Sequence[Constraint], read: ReadWeights, budget: float) -> tuple[Change, ...]:
    """Return the new values of every segment that the constraints name.

    Args:
        constraints: weight targets only; all over the same segments.
        read: returns the current weights of a segment.
        budget: largest relative change of any carrier.

    Raises:
        UsageError: a constraint that closed form cannot satisfy.
        FidelityError: a carrier would change by more than the budget.
    """
    targets = [_weight_target(constraint) for constraint in constraints]
    segments = targets[0].segments
    if any(target.segments != segments for target in targets):
        raise UsageError("weight targets of one artifact must be over the same weights")
    current = [read(segment) for segment in segments]
    steps = _steps(targets, current)
    edges = np.cumsum([0] + [segment.size for segment in segments])
    changes = []
    for segment, weights, start, stop in zip(segments, current, edges, edges[1:], strict=False):
        step = steps[start:stop] * np.float32(segment.spread)
        changes.append(Change(segment, np.where(weights == 0, weights, weights + step).astype(np.float32)))
    for moved in relative_changes(changes, current):
        if moved.relative > budget:
            raise FidelityError(
                f"carrier {moved.carrier!r} would change by {moved.relative:.1%} of its norm, more than the budget of "
                f"{budget:.1%}; use a lower strength or raise the budget"
            )
    return tuple(changes)


def relative_changes(changes: Sequence[Change], before: Sequence[Weights]) -> Iterator[CarrierChange]:
    """Yield how far each carrier was moved, in order."""
    pairs = zip(changes, before, strict=True)
    for carrier, group in groupby(pairs, key=lambda pair: pair[0].segment.carrier):
        moved = weight = 0.0
        for change, weights in group:
            moved += float(np.sum(np.square(change.values - weights, dtype=np.float64)))
            weight += float(np.sum(np.square(weights, dtype=np.float64)))
        yield CarrierChange(carrier, float(np.sqrt(moved / weight)) if weight > 0 else 0.0)


def _weight_target(constraint: Constraint) -> WeightTarget:
    match constraint:
        case WeightTarget():
            return constraint
        case _:
            raise UsageError("closed form changes weights only; this scheme needs fine-tuning")


def _steps(targets: Sequence[WeightTarget], current: Sequence[Weights]) -> Weights:
    """Return the sum of all targets' updates, in spreads, for all segments in a row."""
    total = np.zeros(sum(weights.size for weights in current), dtype=np.float32)
    for target in targets:
        wanted = target.values
        if target.blind:
            units = [
                weights / np.float32(segment.spread * target.strength)
                for segment, weights in zip(target.segments, current, strict=True)
            ]
            wanted = wanted - target.projection.apply(np.concatenate(units))
        total += target.projection.min_norm_update(wanted) * np.float32(target.strength)
    return total

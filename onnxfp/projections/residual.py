"""What a suspect's weights say beyond the reference: differences, freed of what any transform does to every weight.

Pruning, rounding, rescaling, clipping and weight decay move a weight by an amount that depends on that weight. So the
residual of each carrier is fitted by its reference value (a line per bin of that value) and only the rest is kept; bins
that a transform left noisy count for less. All of it depends on the suspect and the reference alone, never on a word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Floats, Weights

_BINS_PER_SPREAD = 8
_RANGE = 4  # spreads either side of zero; the outermost bins take the rest
_CUTS = 3  # of outliers: each round takes the level of 1 % of huge ones to a sixth
_UNRELATED = 1e-4  # a smaller scale than this is chance
_BINS = 2 * _RANGE * _BINS_PER_SPREAD


@dataclass(frozen=True)
class Unit:
    """What the residuals of one carrier are measured in."""

    spread: float
    """The carrier's robust standard deviation."""
    amplitude: float
    """Of the mark, in spreads; residuals quieter than a quarter of it earn no further weight."""


def residual(suspect: Weights, reference: Weights, unit: Unit, clip: float) -> Weights:
    """Return what the suspect (size,) says beyond the reference (size,) of one carrier, weighted and clipped.

    Args:
        suspect: the suspect's weights; entries that are not finite say nothing (0).
        reference: the reference's weights; entries that are exactly 0 never carry a mark and say nothing (0).
        unit: the carrier's spread and the amplitude of a mark in it.
        clip: robust deviations beyond which a residual is cut; ``inf`` for none.
    """
    heard = np.isfinite(suspect) & (reference != 0)
    where = np.where(heard, reference, 0).astype(np.float64) / unit.spread
    moved = np.where(heard, suspect, 0).astype(np.float64) / unit.spread
    moved /= _scale(moved, where)
    bins = np.clip((where + _RANGE) * _BINS_PER_SPREAD, 0, _BINS - 1).astype(np.int64)
    bins[~heard] = _BINS  # a bin of their own, thrown away below
    count = np.maximum(np.bincount(bins, minlength=_BINS + 1), 1).astype(np.float64)
    rest = _off_lines(moved, where, bins, count)
    rest[~heard] = 0
    noise = _noise(rest, bins, count, clip)
    floor = max((unit.amplitude / 4) ** 2, 0.1 * float(noise @ count) / max(1, int(heard.sum())))
    rest *= (unit.amplitude / np.maximum(noise, floor))[bins]  # the matched filter of a mark of that amplitude
    return rest.astype(np.float32)


def _scale(moved: Floats, where: Floats) -> float:
    """Return by how much a whole carrier was multiplied, by least squares; 1 if the two hardly have to do at all.

    A layer can be rescaled, or turned round, for free when the next one makes up for it; its mark went along.
    """
    power = float(np.sum(where * where))
    scale = float(np.sum(moved * where)) / power if power > 0 else 1.0
    return scale if abs(scale) > _UNRELATED else 1.0


def _off_lines(moved: Floats, where: Floats, bins: npt.NDArray[np.int64], count: Floats) -> Floats:
    """Fit a line in every bin; return what is off the lines."""
    x, y = (value - (np.bincount(bins, value, _BINS + 1) / count)[bins] for value in (where, moved))
    power = np.bincount(bins, x * x, _BINS + 1)
    slope = np.bincount(bins, x * y, _BINS + 1) / np.where(power > 0, power, 1.0)
    x *= slope[bins]
    y -= x
    return y


def _noise(rest: Floats, bins: npt.NDArray[np.int64], count: Floats, clip: float) -> Floats:
    """Return (bins + 1,) the mean square of what is off the lines, and cut `rest` in place where it is far beyond.

    Loud outliers raise the level by which they are cut, so it is found anew a few times; they cannot hold it up. The
    level is each bin's own: rounding to a few bits leaves most bins silent and tells all it has to tell in the others.
    """
    noise = np.bincount(bins, rest * rest, _BINS + 1) / count
    for _ in range(_CUTS if np.isfinite(clip) else 0):
        limit = (clip * np.sqrt(noise))[bins]
        np.clip(rest, -limit, limit, out=rest)
        noise = np.bincount(bins, rest * rest, _BINS + 1) / count
    return noise

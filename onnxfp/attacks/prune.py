"""Pruning: the smallest weights of all carriers together become zero."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt

from onnxfp.artifact import Artifact, Patch, TensorRecord
from onnxfp.attacks.carrierwise import blocks, read_copies, rewrite
from onnxfp.attacks.interface import Step
from onnxfp.domain import Weights

_HALF = 1 << 16  # values of one half of a float32's bits


@dataclass(frozen=True)
class Cut:
    """Where the smallest `count` magnitudes end, exactly."""

    limit: int
    """Bits of the largest magnitude that is cut."""
    ties: int
    """How many weights of exactly that magnitude are cut, the first ones."""


@final
@dataclass(frozen=True)
class Prune(Step):
    """Zero the `share` of smallest magnitudes, counted over all carriers."""

    share: float

    @property
    def sources(self) -> tuple[int, int | None]:
        """One artifact."""
        return 1, 1

    def write(self, sources: Sequence[Path], destination: Path, rng: np.random.Generator, *, force: bool) -> None:
        """Find the limit in two passes over the weights, then zero what is below it."""
        del rng
        rewrite(sources, destination, self._patches, force=force)

    def _patches(self, artifacts: Sequence[Artifact], records: Sequence[TensorRecord]) -> Iterable[Patch]:
        total = sum(record.size for record in records)
        cut = find_cut(lambda: (w for _, _, w in _pieces(artifacts, records)), round(self.share * total))
        for record, start, weights in _pieces(artifacts, records):
            cut, kept = apply_cut(weights, cut)
            yield Patch(record.name, start, kept)


def prune(weights: Weights, share: float) -> Weights:
    """Return weights (n,) with the `share` of smallest magnitudes set to zero; of equal ones the first go first."""
    return apply_cut(weights, find_cut(lambda: iter((weights,)), round(share * weights.size)))[1]


def find_cut(pieces: Callable[[], Iterator[Weights]], count: int) -> Cut:
    """Return the cut that takes exactly `count` weights, by counting the two halves of their bits.

    A float's bits without the sign are ordered as its magnitude is, so two histograms of 2**16 bins are exact.
    """
    if count == 0:
        return Cut(0, 0)
    upper, rest = _rank(pieces(), count, lambda bits: bits >> np.uint32(16))
    lower, ties = _rank(pieces(), rest, lambda bits: bits[bits >> np.uint32(16) == upper] & np.uint32(_HALF - 1))
    return Cut(upper * _HALF + lower, ties)


def apply_cut(weights: Weights, cut: Cut) -> tuple[Cut, Weights]:
    """Return the cut that is left for the weights that follow, and these weights without what was cut."""
    bits = _magnitude_bits(weights)
    equal = np.flatnonzero(bits == cut.limit)[: cut.ties]
    kept = np.where(bits < cut.limit, np.float32(0), weights)
    kept[equal] = 0
    return Cut(cut.limit, cut.ties - equal.size), kept


def _rank(
    pieces: Iterator[Weights], count: int, digit: Callable[[npt.NDArray[np.uint32]], npt.NDArray[np.uint32]]
) -> tuple[int, int]:
    """Return the digit of the weight with rank `count` (from 1), and its rank among those of the same digit."""
    histogram = sum((np.bincount(digit(_magnitude_bits(w)), minlength=_HALF) for w in pieces), np.zeros(_HALF, int))
    reached = np.cumsum(histogram)
    found = int(np.searchsorted(reached, count))
    return found, count - int(reached[found] - histogram[found])


def _magnitude_bits(weights: Weights) -> npt.NDArray[np.uint32]:
    return np.ascontiguousarray(weights).view(np.uint32) & np.uint32(0x7FFFFFFF)


def _pieces(
    artifacts: Sequence[Artifact], records: Sequence[TensorRecord]
) -> Iterator[tuple[TensorRecord, int, Weights]]:
    for record in records:
        read = partial(read_copies, artifacts, record)
        yield from ((record, start, read(start, stop)[0]) for start, stop in blocks(record))

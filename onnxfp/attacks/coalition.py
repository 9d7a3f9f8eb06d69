"""Coalitions: several recipients make one artifact of their copies, hoping that none of them is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from onnxfp.artifact import Artifact, Patch, TensorRecord
from onnxfp.attacks.carrierwise import blocks, read_copies, rewrite
from onnxfp.attacks.interface import Step
from onnxfp.domain import Weights

Kernel = Callable[[Weights, np.random.Generator], Weights]
"""(copies, n) -> (n,)."""


@final
@dataclass(frozen=True)
class Coalition(Step):
    """Combine copies weight by weight, or carrier by carrier."""

    kernel: Kernel
    whole: bool = False
    """The kernel must see a carrier at once, not a block of it."""

    @property
    def sources(self) -> tuple[int, int | None]:
        """Two or more copies."""
        return 2, None

    def write(self, sources: Sequence[Path], destination: Path, rng: np.random.Generator, *, force: bool) -> None:
        """Weight tensor by weight tensor; memory is bounded by one of them times the number of copies."""

        def patches(artifacts: Sequence[Artifact], records: Sequence[TensorRecord]) -> Iterator[Patch]:
            for record in records:
                for start, stop in ((0, record.size),) if self.whole else blocks(record):
                    yield Patch(record.name, start, self.kernel(read_copies(artifacts, record, start, stop), rng))

        rewrite(sources, destination, patches, force=force, small=True)


def average(copies: Weights, rng: np.random.Generator) -> Weights:
    """Return the mean of every weight."""
    del rng
    mean: Weights = copies.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def minimum(copies: Weights, rng: np.random.Generator) -> Weights:
    """Return the smallest value of every weight."""
    del rng
    return np.asarray(copies.min(axis=0))


def maximum(copies: Weights, rng: np.random.Generator) -> Weights:
    """Return the largest value of every weight."""
    del rng
    return np.asarray(copies.max(axis=0))


def median(copies: Weights, rng: np.random.Generator) -> Weights:
    """Return the middle value of every weight; for an even number of copies halfway between the two middle ones."""
    del rng
    return np.median(copies, axis=0).astype(np.float32)


def midrange(copies: Weights, rng: np.random.Generator) -> Weights:
    """Return (min + max) / 2 of every weight."""
    del rng
    total = copies.min(axis=0).astype(np.float64) + copies.max(axis=0)
    return np.asarray((total / 2).astype(np.float32))


def random_pick(copies: Weights, rng: np.random.Generator) -> Weights:
    """Return every weight from a copy picked at random."""
    picked = rng.integers(len(copies), size=copies.shape[1])
    return np.asarray(copies[picked, np.arange(copies.shape[1])])


def splice(copies: Weights, rng: np.random.Generator) -> Weights:
    """Return the whole carrier from one copy picked at random."""
    return np.asarray(copies[rng.integers(len(copies))])

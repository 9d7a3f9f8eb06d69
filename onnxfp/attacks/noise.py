"""Noise: every weight is moved by a Gaussian number in units of its carrier's standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from onnxfp.artifact import Patch
from onnxfp.attacks.carrierwise import read_copies, rewrite
from onnxfp.attacks.interface import Step
from onnxfp.domain import Weights


@final
@dataclass(frozen=True)
class Noise(Step):
    """Add Gaussian noise of `level` standard deviations of each carrier."""

    level: float

    @property
    def sources(self) -> tuple[int, int | None]:
        """One artifact."""
        return 1, 1

    def write(self, sources: Sequence[Path], destination: Path, rng: np.random.Generator, *, force: bool) -> None:
        """Carrier by carrier."""
        rewrite(
            sources,
            destination,
            lambda artifacts, records: (
                Patch(record.name, 0, add_noise(read_copies(artifacts, record, 0, record.size)[0], self.level, rng))
                for record in records
            ),
            force=force,
        )


def add_noise(weights: Weights, level: float, rng: np.random.Generator) -> Weights:
    """Return weights (n,) of one carrier plus noise of `level` times their standard deviation."""
    amplitude = np.float32(level * float(weights.std(dtype=np.float64)))
    return weights + amplitude * rng.standard_normal(weights.size, dtype=np.float32)

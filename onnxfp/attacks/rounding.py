"""Rounding: every carrier is put on a symmetric uniform grid, as an n-bit integer format would; it stays float."""

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
class Round(Step):
    """Round to `bits` bits per weight, one scale per carrier."""

    bits: int

    @property
    def sources(self) -> tuple[int, int | None]:
        """One artifact."""
        return 1, 1

    def write(self, sources: Sequence[Path], destination: Path, rng: np.random.Generator, *, force: bool) -> None:
        """Carrier by carrier."""
        del rng
        rewrite(
            sources,
            destination,
            lambda artifacts, records: (
                Patch(record.name, 0, round_to_bits(read_copies(artifacts, record, 0, record.size)[0], self.bits))
                for record in records
            ),
            force=force,
        )


def round_to_bits(weights: Weights, bits: int) -> Weights:
    """Return weights (n,) of one carrier on the grid -top .. top times max|w| / top, with top = 2**(bits-1) - 1."""
    top = 2 ** (bits - 1) - 1
    step = float(np.abs(weights).max(initial=0.0)) / top
    if step == 0:
        return weights
    rounded: Weights = (np.rint(weights / step) * step + 0.0).astype(np.float32)  # + 0.0: no negative zeros
    return rounded

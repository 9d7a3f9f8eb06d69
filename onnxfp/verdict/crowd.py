"""All recipients at once, weighed after every answer: has one of them passed?

Their words are drawn once. What each word has won so far is kept, and moved only by the positions whose scores changed;
and nobody is weighed before the best word that there could be would pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxfp.domain import Codebook, Floats, Symbols
from onnxfp.verdict.betting import LN10, log_odds, log_sum_exp, log_weights_of
from onnxfp.verdict.look import Look

_HAIR = 1e-9  # above what is needed, so that weighing anew, in another order of sums, names whom this named
_BLOCK = 4096  # recipients at a time


class KeptWords:
    """The words of some names, drawn once; those of anybody else are drawn when they are asked for."""

    def __init__(self, draw: Callable[[Sequence[str]], Symbols], names: Sequence[str], codebook: Codebook) -> None:
        self.draw = draw
        self.rows = {name: row for row, name in enumerate(names)}
        self.words = np.empty((len(names), codebook.positions), dtype=np.uint8)
        for start in range(0, len(names), _BLOCK):
            self.words[start : start + _BLOCK] = draw(names[start : start + _BLOCK])

    def __call__(self, names: Sequence[str]) -> Symbols:
        """Return the words of some names (names, positions)."""
        if not all(name in self.rows for name in names):
            return self.draw(names)
        words: Symbols = self.words[[self.rows[name] for name in names]]
        return words


@dataclass
class Crowd:
    """Recipients in a channel that is being asked."""

    words: Symbols
    """(recipients, positions)."""
    needed: Floats
    """(recipients,) log10 of the e-value at which each is named."""
    _odds: Floats | None = field(default=None, repr=False)
    """(alphabet, hypotheses, positions): what the capital was made with."""
    _capital: Floats = field(default_factory=lambda: np.zeros((0, 0)), repr=False)
    """(recipients, hypotheses): natural log."""

    def has_passed(self, look: Look) -> bool:
        """Return whether anybody is named by what was read so far."""
        reading = look.reading
        if reading.coverage <= 0 or not len(self.words):
            return False
        odds, log_weights = log_odds(reading, look.codebook), log_weights_of(reading)
        best = np.where(look.codebook.prior.T[:, None, :] > 0, odds, -np.inf).max(axis=0).sum(axis=1)
        if log_sum_exp(best + log_weights, axis=0) < self.needed.min() * LN10:
            return False
        self._move_to(odds)
        return any(
            bool((log_sum_exp(capital + log_weights, axis=1) / LN10 >= needed + _HAIR).any())
            for capital, needed in zip(_blocks(self._capital), _blocks(self.needed), strict=True)
        )

    def _move_to(self, odds: Floats) -> None:
        """Move everybody's capital to other odds: by the positions where they differ from those before."""
        if self._odds is None or self._odds.shape != odds.shape:
            self._odds, self._capital = np.zeros_like(odds), np.zeros((len(self.words), odds.shape[1]))
        gained = odds - self._odds
        for position in np.flatnonzero(gained.any(axis=(0, 1))):
            table = np.ascontiguousarray(gained[:, :, position])
            self._capital += table[self.words[:, position]]
        self._odds = odds


def _blocks(values: Floats) -> list[Floats]:
    return [values[start : start + _BLOCK] for start in range(0, len(values), _BLOCK)]

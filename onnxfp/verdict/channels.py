"""Several channels of one copy: independent words of one recipient, weighed each by itself and all together.

With e_1 .. e_k the e-values of a recipient's k words, the evidence of a copy is the mean, over all non-empty sets of
channels, of the product of a set's e-values:

    e = ((1 + e_1) ... (1 + e_k) - 1) / (2**k - 1)

Words are drawn independently of one another, so that every product has mean 1, and so has their mean. One channel that
says nothing costs the others a constant factor, and two that agree multiply. A channel of which nothing could be read
has e = 0 and keeps its weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxfp.domain import Floats
from onnxfp.verdict.betting import LN10, Bet
from onnxfp.verdict.look import Look, mean_of


@dataclass(frozen=True)
class Copies:
    """What could be read of the channels that tell the copies of one reference apart."""

    looks: tuple[Look, ...]
    lost: tuple[str, ...] = ()
    """Why each channel whose key cannot be drawn any more cannot; they keep their weight at e = 0."""

    @property
    def sets(self) -> int:
        """Number of non-empty sets of channels, of which each channel alone is one."""
        return sets_of(len(self.looks) + len(self.lost))


def sets_of(channels: int) -> int:
    """Return how many non-empty sets there are of so many channels."""
    return int(2**channels) - 1


def together(log10_values: Floats, channels: int) -> Floats:
    """Return log10 of the mean of the products over all non-empty sets of channels (recipients,).

    Args:
        log10_values: (read, recipients) log10 of the e-values in each channel that was read.
        channels: all there are; those that were not read have e = 0.
    """
    more: Floats = np.full(log10_values.shape[1], -np.inf)  # log of (1 + e_1) (1 + e_2) ... - 1
    for values in log10_values * LN10:
        more = np.logaddexp(np.logaddexp(more, values), more + values)
    total: Floats = (more - np.log(sets_of(channels))) / LN10
    return total


def weigh_copies(copies: Sequence[Copies], bets: Sequence[Sequence[Bet | None]], recipients: Sequence[str]) -> Weighed:
    """Return the evidence against each recipient: the mean over all references, and what each channel says alone."""
    alone = [
        np.asarray([look.weigh(bet, recipients) for look, bet in zip(one.looks, of, strict=True)]).reshape(
            len(one.looks), len(recipients)
        )
        for one, of in zip(copies, bets, strict=True)
    ]
    each = [together(values, len(one.looks) + len(one.lost)) for one, values in zip(copies, alone, strict=True)]
    everywhere = np.asarray(each).reshape(len(copies), len(recipients))
    channels = np.concatenate([*alone, np.zeros((0, len(recipients)))])
    return Weighed(mean_of(everywhere, max(1, len(copies))), channels)


@dataclass(frozen=True)
class Weighed:
    """The evidence against some recipients."""

    log10_e: Floats
    """(recipients,)."""
    alone: Floats
    """(looks, recipients): in each channel of all references by itself."""


def still_needed(others: Floats, channels: int, threshold: float) -> Floats:
    """Return log10 of the e-value that the last channel of a copy must reach (recipients,) for each to be named.

    Where the others name somebody already, the last one is to do so by itself: only then is it known whether they
    agree.

    Args:
        others: (read, recipients) log10 of the e-values in the other channels.
        channels: all there are, the last one included.
        threshold: log10 of what all together must reach.
    """
    by_itself = threshold * LN10 + np.log(sets_of(channels))
    more = together(others, 1) * LN10  # log of (1 + e_1) ... - 1
    if (more >= by_itself).any():
        return np.full(others.shape[1], by_itself / LN10)
    # (1 + more) (1 + e) - 1 >= all  if  e >= (all - more) / (1 + more)
    missing = by_itself + np.log1p(-np.exp(more - by_itself)) - np.logaddexp(0.0, more)
    needed: Floats = missing / LN10
    return needed

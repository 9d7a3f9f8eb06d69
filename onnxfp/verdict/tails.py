"""Exact tails of counted points: how often a word drawn anew would do as well as the owner's.

Valid for a number of queries that was fixed beforehand; after optional stopping only the e-value bounds the chance.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Codebook, Floats, Symbols


def exact_tail(tally: npt.NDArray[np.int64], codebook: Codebook, word: Symbols) -> float:
    """Return P(points of a word drawn from the codebook >= points of this one), the suspect's answers held fixed.

    Positions are drawn independently, so that the distribution of the sum is a convolution. With one point for a hit it
    is the binomial with unequal chances; with a single position it is the rank of the word among all symbols.

    Args:
        tally: (positions, alphabet) points of each symbol, none negative.
        codebook: with which the word was drawn.
        word: (positions,) the symbols.
    """
    law: Floats = np.ones(1)
    for each, chances in zip(tally, codebook.prior, strict=True):
        law = np.convolve(law, np.bincount(each, weights=chances))
    return float(min(1.0, law[points(tally, word) :].sum()))


def points(tally: npt.NDArray[np.int64], word: Symbols) -> int:
    """Return the points of a word (positions,)."""
    return int(tally[np.arange(len(word)), word].sum())

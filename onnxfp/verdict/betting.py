"""The one test: a bet against the suspect being independent of our secret symbols.

    e(x) = sum_h w_h prod_i exp(S[h,i,x_i]) / sum_s p[i,s] exp(S[h,i,s])

Why `E[e(x)] = 1` for every suspect that is independent of x, whatever S is:

1. Fix the suspect; the scores S, made from its answers and from public things, are then constants.
2. x is still random: its symbols are drawn independently, x_i = s with probability p[i,s], by a keyed PRF.
3. For one hypothesis and position, E[exp S[h,i,x_i]] = sum_s p[i,s] exp S[h,i,s]: exactly the divisor.
4. So every factor has mean 1 over the draw of x_i, and independent factors multiply: each product has mean 1.
5. Weights that sum to 1 and were fixed before looking keep it: E[e(x)] = 1. No channel model had to be right.
6. Markov: P(e >= 1/a) <= a. This is the chance, over the owner's key, that an independent suspect is called ours.
7. N recipients, each accused at e >= N/a: by the union bound P(any innocent accused) <= N * a/N = a.
8. Step 2 holds for an innocent's word even given all other words, so it does not matter what colluders did.
9. A score may depend on earlier answers, never on later ones: the running product is then a martingale of mean 1.
10. Ville: P(it ever passes 1/a) <= a. Looking after every query costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxfp.domain import Codebook, Floats, Reading, Symbols

LN10 = float(np.log(10.0))


@dataclass(frozen=True)
class Bet:
    """A reading turned into stakes: what each symbol at each position multiplies the capital of each hypothesis by."""

    base: Floats
    """(hypotheses,) natural log of the capital of the word that has symbol 0 everywhere."""
    gains: Floats
    """(alphabet - 1, positions, hypotheses): natural log gained by symbol s > 0 over symbol 0."""
    log_weights: Floats
    """(hypotheses,) natural log of the weights; -inf for none."""

    def log10_e(self, words: Symbols) -> Floats:
        """Return log10 of the e-value of each word: (recipients, positions) -> (recipients,)."""
        capital = np.tile(self.base, (len(words), 1))
        for symbol, gain in enumerate(self.gains, start=1):
            capital += (words == symbol).astype(np.float64) @ gain
        return log_sum_exp(capital + self.log_weights, axis=1) / LN10


def place_bet(reading: Reading, codebook: Codebook) -> Bet:
    """Prepare the weighing of any number of words against one reading.

    Raises:
        ValueError: the reading is not finite, or its shape is not that of the codebook.
    """
    odds = log_odds(reading, codebook)
    gains = np.moveaxis(odds[1:] - odds[:1], 1, 2)  # alphabet - 1, positions, hypotheses
    return Bet(odds[0].sum(axis=1), np.ascontiguousarray(gains), log_weights_of(reading))


def log_odds(reading: Reading, codebook: Codebook) -> Floats:
    """Return (alphabet, hypotheses, positions): natural log of what each symbol multiplies the capital by.

    Raises:
        ValueError: the reading is not finite, or its shape is not that of the codebook.
    """
    scores = reading.log_scores
    if scores.shape[1:] != (codebook.positions, codebook.alphabet) or not np.isfinite(scores).all():
        raise ValueError(f"log-scores of shape {scores.shape} do not fit the codebook, or are not finite")
    with np.errstate(divide="ignore"):
        log_prior = np.log(codebook.prior)
    symbols = np.ascontiguousarray(np.moveaxis(scores, 2, 0))
    odds: Floats = symbols - log_sum_exp(log_prior.T[:, None, :] + symbols, axis=0)
    return odds


def log_weights_of(reading: Reading) -> Floats:
    """Return (hypotheses,) natural log of the weights; -inf for none."""
    with np.errstate(divide="ignore"):
        logs: Floats = np.log(reading.weights)
    return logs


def log10_e(reading: Reading, codebook: Codebook, words: Symbols) -> Floats:
    """Return log10 of the e-value of each word: (recipients, positions) -> (recipients,)."""
    return place_bet(reading, codebook).log10_e(words)


def log_sum_exp(values: Floats, axis: int) -> Floats:
    """Return log of the sum of exp along an axis; -inf where there is nothing but -inf."""
    top = values.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total: Floats = np.log(np.exp(values - top).sum(axis=axis)) + np.squeeze(top, axis=axis)
    return total

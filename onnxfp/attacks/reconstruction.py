"""Query modification with an auto-encoder: a suspect that asks itself twice and mistrusts what the two answers betray.

Paper: Namba and Sakuma, "Robust watermarking of neural network with exponential weighting", AsiaCCS 2019. An input x
and its reconstruction AE(x) are both classified. Where the Jensen-Shannon divergence between the two answers exceeds a
threshold, x is taken for a key sample and AE(x) is answered, else x.

Departs: the paper's way of choosing the threshold is not known to us; `threshold_of` takes a quantile over ordinary
inputs. Where only labels are answered, the divergence is that of two certain answers: 0 or log 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never, final

import numpy as np

from onnxfp.domain import Answered, Floats, Probe, QueryProbe, Response, Unanswered, WeightProbe
from onnxfp.errors import UsageError
from onnxfp.suspect.interface import Suspect
from onnxfp.triggers.canvas import Inputs

Reconstruct = Callable[[Inputs], Inputs]


@final
@dataclass(frozen=True)
class Autoencoding:
    """A suspect that answers AE(x) where x looks like a key sample, and x elsewhere."""

    suspect: Suspect
    reconstruct: Reconstruct
    threshold: float
    """In nats; no divergence exceeds log 2. To answer AE(x) always, wrap in `Filtered` instead."""

    def answer(self, probe: Probe) -> Response:
        """Answer each input of a query with one of the two answers; other probes pass through."""
        match probe:
            case WeightProbe():
                return self.suspect.answer(probe)
            case QueryProbe():
                return self._chosen(*_both(self.suspect, self.reconstruct, probe))
        assert_never(probe)

    def _chosen(self, plain: Response, rebuilt: Response) -> Response:
        for response in (plain, rebuilt):
            if isinstance(response, Unanswered):
                return response
        assert isinstance(plain, Answered)
        assert isinstance(rebuilt, Answered)
        if plain.values.ndim != rebuilt.values.ndim:
            return Unanswered("it answered with labels once and with scores once")
        mine, theirs = _alike(plain.values, rebuilt.values)
        mistrusted = divergence(mine, theirs) > self.threshold
        values = np.where(mistrusted if mine.ndim == 1 else mistrusted[:, None], theirs, mine)
        return replace(plain, values=values, coverage=min(plain.coverage, rebuilt.coverage))


def threshold_of(suspect: Suspect, reconstruct: Reconstruct, inputs: Inputs, share: float) -> float:
    """Return the divergence that this share of ordinary inputs exceeds.

    Raises:
        UsageError: the suspect does not answer them.
    """
    answers = _both(suspect, reconstruct, QueryProbe(inputs))
    heard = [response.values for response in answers if isinstance(response, Answered)]
    if len(heard) < 2:
        raise UsageError("expected a suspect that answers ordinary inputs, found one that does not")
    return float(np.nanquantile(divergence(*_alike(*heard)), 1 - share))


def divergence(first: Floats, second: Floats) -> Floats:
    """Return (samples,) Jensen-Shannon divergences in nats; NaN where there is no answer.

    Args:
        first: labels (samples,) or log-probabilities (samples, classes).
        second: the same form.
    """
    if first.ndim == 1:
        unheard = np.isnan(first) | np.isnan(second)
        return np.where(unheard, np.nan, np.where(first == second, 0.0, np.log(2.0)))
    with np.errstate(invalid="ignore"):
        mean = np.logaddexp(first, second) - np.log(2.0)
    return (_relative(first, mean) + _relative(second, mean)) / 2


def _relative(logs: Floats, mean: Floats) -> Floats:
    """Kullback-Leibler divergence from `mean`; what has probability 0 adds nothing."""
    with np.errstate(invalid="ignore"):
        terms = np.where(np.isneginf(logs), 0.0, np.exp(logs) * (logs - mean))
    return np.asarray(terms.sum(axis=1))


def _both(suspect: Suspect, reconstruct: Reconstruct, probe: QueryProbe) -> tuple[Response, Response]:
    return suspect.answer(probe), suspect.answer(replace(probe, inputs=reconstruct(np.asarray(probe.inputs))))


def _alike(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return answers as wide as the wider: of the best classes only, not as many may be returned each time."""
    if first.ndim == 1:
        return first, second
    width = max(first.shape[1], second.shape[1])
    wide = [
        np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=-np.inf) for values in (first, second)
    ]
    return wide[0], wide[1]

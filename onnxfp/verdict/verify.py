"""Ours? The owner's word, weighed against everything that was read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxfp.domain import Evidence, Verdict
from onnxfp.verdict.look import Look, committed_at, decided, transforms, unread, weigh

OWNER = "owner"  # the name under which the owner's own word is drawn

NULL = (
    "The suspect is independent of the owner's {positions} secret symbols. Over the draw of those symbols from the "
    "owner's key, an independent suspect is called ours with probability at most {alpha:.3g}. This assumes that the "
    "claimant drew the key honestly."
)


def verify(looks: Sequence[Look], alpha: float) -> Verdict:
    """Decide whether a suspect knows the owner's symbols: e >= 1/alpha, e the mean over all owner claims.

    Args:
        looks: one per owner claim of every registered reference, read or not; the weights are equal and fixed.
        alpha: the level, fixed beforehand.
    """
    evidence: tuple[Evidence, ...] = ()
    if any(look.reading.coverage > 0 for look in looks):
        score = weigh(looks, [look.bet() for look in looks], [OWNER])
        evidence = (Evidence(OWNER, float(score[0])),)
    threshold = -float(np.log10(alpha))
    supported = any(item.log10_e >= threshold for item in evidence)
    decision, reason = decided(looks, supported=supported)
    return Verdict(
        decision=decision,
        scheme=",".join(sorted({look.scheme for look in looks})),
        question="verify",
        evidence=evidence,
        accused=(),
        log10_threshold=threshold,
        alpha=alpha,
        recipients_tested=0,
        null=NULL.format(positions=sum(look.codebook.positions for look in looks), alpha=alpha),
        reason=reason,
        unread=unread(looks),
        transforms=transforms(looks),
        committed_at=committed_at(looks),
    )

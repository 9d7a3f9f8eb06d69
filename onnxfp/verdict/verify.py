"""Ours? The owner's word, weighed against everything that was read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxfp.domain import ClaimEvidence, Decision, Evidence, Verdict
from onnxfp.verdict.look import Look, committed_at, decided, provider, transforms, unread, weigh
from onnxfp.verdict.tails import exact_tail, points

OWNER = "owner"  # the name under which the owner's own word is drawn

NULL = (
    "The suspect is independent of the owner's {positions} secret symbols. Over the draw of those symbols from the "
    "owner's key, an independent suspect is called ours with probability at most {alpha:.3g}. This assumes that the "
    "claimant drew the key honestly."
)


def verify(looks: Sequence[Look], alpha: float, besides: int = 0, lost: Sequence[str] = ()) -> Verdict:
    """Decide whether a suspect knows the owner's symbols: e >= 1/alpha, e the mean over all owner claims.

    Args:
        looks: one per owner claim of every registered reference, read or not; the weights are equal and fixed.
        alpha: the level, fixed beforehand.
        besides: claims that were drawn and that no registered artifact bears; they share the weight, at e = 0.
        lost: why each claim that could not be asked about could not; they share the weight too. Then the others may
            speak for the owner, but not against.
    """
    evidence: tuple[Evidence, ...] = ()
    if any(look.reading.coverage > 0 for look in looks):
        score = weigh(looks, [look.bet() for look in looks], [OWNER], besides + len(lost))
        evidence = (Evidence(OWNER, float(score[0])),)
    threshold = -float(np.log10(alpha))
    supported = any(item.log10_e >= threshold for item in evidence)
    decision, reason = decided(looks, supported=supported)
    if lost and not supported:
        decision, reason = Decision.INCONCLUSIVE, "; ".join(lost)
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
        unread=(*unread(looks), *lost),
        transforms=transforms(looks),
        committed_at=committed_at(looks),
        claims=tuple(_contribution(look) for look in looks),
        provider=provider(looks),
        ordinary=sum(look.ordinary for look in looks),
    )


def _contribution(look: Look) -> ClaimEvidence:
    """Return what one claim says by itself."""
    word, bet, tally = look.words([OWNER])[0], look.bet(), look.reading.tally
    log10_e = None if bet is None else float(bet.log10_e(word[None])[0])
    p_value = None if log10_e is None else float(min(1.0, 10.0 ** min(0.0, -log10_e)))
    if p_value is not None and tally is not None and look.fixed:
        p_value = exact_tail(tally, look.codebook, word)
    return ClaimEvidence(
        claim=look.claim,
        scheme=look.scheme,
        log10_e=log10_e,
        p_value=p_value,
        positions=look.codebook.positions,
        queries=look.queries,
        points=None if bet is None or tally is None else points(tally, word),
        most=look.reading.most,
        fixed=look.fixed,
        provider=look.reading.provider,
        unread=look.reading.unread,
    )

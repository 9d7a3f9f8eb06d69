"""Whose copy? Every recipient's word, weighed against everything that was read."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np

from onnxfp.domain import Evidence, Verdict
from onnxfp.verdict.look import Look, committed_at, decided, transforms, unread, weigh

BLOCK = 256  # recipients weighed at a time: memory stays flat in their number
_SHOWN = 5  # strongest of those not accused that a verdict keeps

NULL = (
    "An innocent recipient's copy had no part in the suspect, so that their {positions} secret symbols are independent "
    "of it. Over the draw of symbols from the owner's key, the chance that any innocent among all {recipients} "
    "recipients is named is at most {alpha:.3g}, however many colluded and whatever they did. This assumes that the "
    "claimant drew the key honestly."
)


def trace(
    looks: tuple[Look, ...],
    recipients: Iterable[str],
    issued: int,
    alpha: float,
    progress: Callable[[int], None] = lambda done: None,
) -> Verdict:
    """Name every recipient u with e(x_u) >= N/alpha, e the mean over all recipient claims.

    Args:
        looks: one per recipient claim (with words independent between recipients) of every registered reference.
        recipients: the names to weigh; a stream is enough.
        issued: N, all recipients to whom a copy was ever issued or reserved; at least as many as are weighed.
        alpha: the level for the whole suspect, fixed beforehand.
        progress: told how many recipients have been weighed.

    Raises:
        ValueError: a look whose words depend on one another, for which the union bound does not hold.
    """
    if not all(look.independent for look in looks):
        raise ValueError("only words that are independent between recipients may be traced by e-value")
    threshold = float(np.log10(max(1, issued)) - np.log10(alpha))
    accused, others = _sort(_weighed(looks, recipients, progress), threshold)
    decision, reason = decided(looks, supported=bool(accused))
    return Verdict(
        decision=decision,
        scheme=",".join(sorted({look.scheme for look in looks})),
        question="trace",
        evidence=(*accused, *others),
        accused=tuple(item.name for item in accused),
        log10_threshold=threshold,
        alpha=alpha,
        recipients_tested=issued,
        null=NULL.format(positions=sum(look.codebook.positions for look in looks), recipients=issued, alpha=alpha),
        reason=reason,
        unread=unread(looks),
        transforms=transforms(looks),
        committed_at=committed_at(looks),
    )


def _weighed(
    looks: tuple[Look, ...], recipients: Iterable[str], progress: Callable[[int], None]
) -> Iterator[tuple[str, float]]:
    bets = [look.bet() for look in looks]
    if not any(bets):
        return
    stream, done = iter(recipients), 0
    while block := list(islice(stream, BLOCK)):
        yield from zip(block, weigh(looks, bets, block).tolist(), strict=True)
        done += len(block)
        progress(done)


def _sort(weighed: Iterable[tuple[str, float]], threshold: float) -> tuple[list[Evidence], list[Evidence]]:
    """Split into the accused, best first, and the few strongest of the rest; keeps no more than these."""
    accused: list[Evidence] = []
    others: list[tuple[float, str]] = []
    for name, score in weighed:
        if score >= threshold:
            accused.append(Evidence(name, score))
        elif len(others) < _SHOWN:
            heapq.heappush(others, (score, name))
        else:
            heapq.heappushpop(others, (score, name))
    rest = [Evidence(name, score) for score, name in sorted(others, reverse=True)]
    return sorted(accused, key=lambda item: -item.log10_e), rest

"""Whose copy? Every recipient's words, weighed against everything that was read."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from onnxfp.domain import ClaimEvidence, Decision, Evidence, Verdict
from onnxfp.verdict.channels import Copies, Weighed, weigh_copies
from onnxfp.verdict.look import (
    ANSWERS,
    WEIGHTS,
    Look,
    committed_at,
    decided,
    provider,
    transforms,
    unread,
)
from onnxfp.verdict.tails import points

BLOCK = 256  # recipients weighed at a time: memory stays flat in their number
_SHOWN = 5  # strongest of those not accused that a verdict keeps
_NAMED = 5  # names in a sentence

NULL = (
    "An innocent recipient's copy had no part in the suspect, so that their {positions} secret symbols are independent "
    "of it. Over the draw of symbols from the owner's key, the chance that any innocent among all {recipients} "
    "recipients is named is at most {alpha:.3g}, however many colluded and whatever they did. This assumes that the "
    "claimant drew the key honestly."
)


def log10_threshold(issued: int, alpha: float) -> float:
    """Return log10 of N/alpha, which the evidence against one of N recipients must reach."""
    return float(np.log10(max(1, issued)) - np.log10(alpha))


def trace(
    copies: Sequence[Copies],
    recipients: Iterable[str],
    issued: int,
    alpha: float,
    progress: Callable[[int], None] = lambda done: None,
) -> Verdict:
    """Name every recipient u with e(x_u) >= N/alpha, e the mean over all references of what their channels say.

    Args:
        copies: of every registered reference that was to be looked at, what was read of its recipients' channels (with
            words independent between recipients).
        recipients: the names to weigh; a stream is enough.
        issued: N, all recipients to whom a copy was ever issued or reserved; at least as many as are weighed.
        alpha: the level for the whole suspect, fixed beforehand.
        progress: told how many recipients have been weighed.

    Raises:
        ValueError: a look whose words depend on one another, for which the union bound does not hold.
    """
    looks = tuple(look for one in copies for look in one.looks)
    if not all(look.independent for look in looks):
        raise ValueError("only words that are independent between recipients may be traced by e-value")
    threshold = log10_threshold(issued, alpha)
    all_together = _Ranking(threshold)
    alone = [_Ranking(threshold + float(np.log10(one.sets * len(copies)))) for one in copies for _ in one.looks]
    for block, weighed in _weighed(copies, recipients, progress):
        all_together.take(block, weighed.log10_e.tolist())
        for ranking, values in zip(alone, weighed.alone.tolist(), strict=True):
            ranking.take(block, values)
    accused, others = all_together.ranked()
    lost = tuple(reason for one in copies for reason in one.lost)
    decision, reason = decided(looks, supported=bool(accused))
    if lost and not accused:
        decision, reason = Decision.INCONCLUSIVE, "; ".join(lost)
    names = tuple(item.name for item in accused)
    claims = tuple(_contribution(*one, names, issued) for one in zip(looks, alone, strict=True))
    return Verdict(
        decision=decision,
        scheme=",".join(sorted({look.scheme for look in looks})),
        question="trace",
        evidence=(*accused, *others),
        accused=names,
        log10_threshold=threshold,
        alpha=alpha,
        recipients_tested=issued,
        null=NULL.format(positions=sum(look.codebook.positions for look in looks), recipients=issued, alpha=alpha),
        reason=reason,
        unread=(*unread(looks), *lost),
        transforms=transforms(looks),
        committed_at=committed_at(looks),
        claims=claims,
        provider=provider(looks),
        ordinary=sum(look.ordinary for look in looks),
        disagreement=disagreement(claims),
    )


def disagreement(claims: Sequence[ClaimEvidence]) -> str:
    """Say that weights and answers each name somebody whom the other does not; empty where they do not."""
    named = {channel: _names(claim for claim in claims if claim.channel == channel) for channel in (WEIGHTS, ANSWERS)}
    by_weights, by_answers = named[WEIGHTS], named[ANSWERS]
    if not set(by_weights) - set(by_answers) or not set(by_answers) - set(by_weights):
        return ""
    return (
        f"the weights are {_owners(by_weights)}, the answers are {_owners(by_answers)}: several copies had a part in "
        "the suspect, or its answers are not those of its weights; each finding holds by itself"
    )


def _names(claims: Iterable[ClaimEvidence]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for claim in claims for name in claim.named))


def _owners(names: Sequence[str]) -> str:
    shown = [f"{name}'s" for name in names[:_NAMED]]
    return " and ".join([*shown, f"{len(names) - _NAMED} others'"] if len(names) > _NAMED else shown)


def _weighed(
    copies: Sequence[Copies], recipients: Iterable[str], progress: Callable[[int], None]
) -> Iterator[tuple[list[str], Weighed]]:
    bets = [[look.bet() for look in one.looks] for one in copies]
    if not any(bet for of in bets for bet in of):
        return
    stream, done = iter(recipients), 0
    while block := list(islice(stream, BLOCK)):
        yield block, weigh_copies(copies, bets, block)
        done += len(block)
        progress(done)


@dataclass
class _Ranking:
    """The accused, and the few strongest of the rest; keeps no more than these."""

    threshold: float
    accused: list[Evidence] = field(default_factory=list)
    others: list[tuple[float, str]] = field(default_factory=list)

    def take(self, names: Sequence[str], scores: Sequence[float]) -> None:
        """Take in some more."""
        for name, score in zip(names, scores, strict=True):
            if score >= self.threshold:
                self.accused.append(Evidence(name, score))
            elif len(self.others) < _SHOWN:
                heapq.heappush(self.others, (score, name))
            else:
                heapq.heappushpop(self.others, (score, name))

    def ranked(self) -> tuple[list[Evidence], list[Evidence]]:
        """Return both, best first."""
        rest = [Evidence(name, score) for score, name in sorted(self.others, reverse=True)]
        return sorted(self.accused, key=lambda item: -item.log10_e), rest


def _contribution(look: Look, ranking: _Ranking, named: Sequence[str], issued: int) -> ClaimEvidence:
    """Return what one channel says by itself."""
    accused, others = ranking.ranked()
    among = set(named)  # a rounding of sums must not part them
    best = next(iter((*accused, *others)), None) if look.reading.coverage > 0 else None
    tally = look.reading.tally
    return ClaimEvidence(
        claim=look.claim,
        scheme=look.scheme,
        log10_e=None if best is None else best.log10_e,
        p_value=None if best is None else float(min(1.0, 10.0 ** min(0.0, np.log10(max(1, issued)) - best.log10_e))),
        positions=look.codebook.positions,
        queries=look.queries,
        points=None if best is None or tally is None else points(tally, look.words([best.name])[0]),
        most=look.reading.most,
        fixed=False,
        provider=look.reading.provider,
        unread=look.reading.unread,
        channel=look.channel,
        named=tuple(item.name for item in accused if item.name in among),
    )

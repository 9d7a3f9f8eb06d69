"""What judging starts from: one claim that was laid down beforehand, and what was read of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxfp.domain import Codebook, Decision, Floats, Reading, Symbols
from onnxfp.verdict.betting import Bet, place_bet

WEIGHTS, ANSWERS = "weights", "answers"

_ENOUGH = 0.5  # of what was asked must have been read before "not supported" is said


@dataclass(frozen=True)
class Look:
    """One claim of one registered reference and what a suspect let be read of it."""

    scheme: str
    codebook: Codebook
    words: Callable[[Sequence[str]], Symbols]
    """Names to their words (recipients, positions) in this claim."""
    independent: bool
    """Whether words are independent between recipients; only then may a trace weigh them."""
    reading: Reading
    committed_at: str = ""
    """When the claim was laid down, UTC, ISO 8601."""
    claim: str = ""
    """What the claim is called."""
    queries: int = 0
    """Triggers that were sent."""
    ordinary: int = 0
    """Ordinary inputs that were sent among them."""
    fixed: bool = False
    """Whether the number of queries was fixed beforehand."""
    asks: bool = False
    """Whether it asks for outputs."""
    unfit: bool = False
    """The suspect takes other inputs than the claim has."""
    decisive: bool = True
    """Whether a suspect that knows every symbol would have been found by what was read of this one."""
    cut: bool = False
    """Not all that the claim asks was answered, and what was could not have decided: others cannot decide for it."""
    failed: bool = False
    """The suspect was asked what it should have been able to answer, and was not able."""
    weighed: Mapping[str, float] = field(default_factory=dict)
    """log10 of the e-values of names that were weighed already, so that they need not be weighed again."""

    @property
    def channel(self) -> str:
        """What was looked at."""
        return ANSWERS if self.asks else WEIGHTS

    def bet(self) -> Bet | None:
        """Prepare the weighing of words; None if nothing was read, which is an e-value of 0 for every word."""
        return place_bet(self.reading, self.codebook) if self.reading.coverage > 0 else None

    def log10_e(self, word: Symbols) -> float:
        """Return log10 of the e-value of one word (1, positions); -inf if nothing was read."""
        bet = self.bet()
        return -np.inf if bet is None else float(bet.log10_e(word)[0])

    def weigh(self, bet: Bet | None, names: Sequence[str]) -> Floats:
        """Return log10 of the e-values of some names' words (names,), given its bet."""
        if bet is None:
            return np.full(len(names), -np.inf)
        if all(name in self.weighed for name in names):
            return np.asarray([self.weighed[name] for name in names])
        return bet.log10_e(self.words(names))


def weigh(looks: Sequence[Look], bets: Sequence[Bet | None], recipients: Sequence[str], besides: int = 0) -> Floats:
    """Return log10 of each recipient's e-value (recipients,): the mean over all claims, unread ones counting 0.

    Args:
        looks: one per claim.
        bets: of the looks.
        recipients: names.
        besides: further claims that share the weight and that nobody could look at.
    """
    values = [look.weigh(bet, recipients) for look, bet in zip(looks, bets, strict=True)]
    return mean_of(np.asarray(values).reshape(len(looks), len(recipients)), len(looks) + besides)


def mean_of(log10_values: Floats, count: int) -> Floats:
    """Return log10 of the mean of e-values (claims, recipients) over so many claims; those that are absent are 0."""
    top = log10_values.max(axis=0, initial=-np.inf)
    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.sum(10.0 ** (log10_values - shift), axis=0)
        mean: Floats = np.log10(total / count) + shift
    return mean


def decided(looks: Sequence[Look], *, supported: bool) -> tuple[Decision, str]:
    """Return the decision and, when it is inconclusive, the reason."""
    if supported:
        return Decision.SUPPORTED, ""
    failed = [look for look in looks if look.failed]
    if failed:
        return Decision.INCONCLUSIVE, "; ".join(unread(failed)) or "the suspect did not answer"
    coverage = max((look.reading.coverage for look in looks if look.decisive), default=0.0)
    if coverage >= _ENOUGH and any(look.cut for look in looks):
        return Decision.INCONCLUSIVE, "too little was asked or answered to decide a claim, whatever the others say"
    if coverage >= _ENOUGH:
        return Decision.NOT_SUPPORTED, ""
    nothing = (
        "all that was asked could not have decided" if looks else "nothing is registered to hold this suspect against"
    )
    what = "; ".join(unread(looks)) or nothing
    return Decision.INCONCLUSIVE, f"{coverage:.0%} of what would decide could be read: {what}"


def provider(looks: Sequence[Look]) -> str:
    """Return what ran the suspect, each said once."""
    return ", ".join(dict.fromkeys(look.reading.provider for look in looks if look.reading.provider))


def committed_at(looks: Sequence[Look]) -> str:
    """Return when the last of the claims that were read had been laid down: all of them stood by then."""
    return max((look.committed_at for look in looks if look.reading.coverage > 0), default="")


def unread(looks: Sequence[Look]) -> tuple[str, ...]:
    """Return what could not be read in any of the looks, each said once."""
    return tuple(dict.fromkeys(reason for look in looks for reason in look.reading.unread))


def transforms(looks: Sequence[Look]) -> tuple[str, ...]:
    """Return what was undone in any of the looks, each said once."""
    return tuple(dict.fromkeys(done for look in looks for done in look.reading.transforms))

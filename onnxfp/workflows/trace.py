"""Trace: whose copy is it? What tells copies apart, read from a suspect's weights, from its answers, or from both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from onnxfp.domain import Floats, Verdict
from onnxfp.errors import UsageError, VaultError
from onnxfp.suspect.interface import Suspect
from onnxfp.verdict.channels import Copies, sets_of, still_needed
from onnxfp.verdict.crowd import Crowd, KeptWords
from onnxfp.verdict.look import ANSWERS, WEIGHTS, Look
from onnxfp.verdict.trace import log10_threshold, trace
from onnxfp.workflows.channels import RECIPIENT, DrawnChannel
from onnxfp.workflows.claims import RegisteredClaim, about_other_data, claims_about_copies
from onnxfp.workflows.interrogation import NO_ROOM, Conduct, interrogate
from onnxfp.workflows.judge import Progress, Question, log_look, read_channels, registered_references
from onnxfp.workflows.looking import (
    Ears,
    failing,
    hidden_among,
    recorded_asking,
    recorded_claims,
    recorded_suspect,
    repeated,
    spender,
    spent_before,
)
from onnxfp.workflows.pool_data import PoolData, about, refuse_missing, refuse_others, with_shadows, with_trust
from onnxfp.workflows.recorded import Recorded
from onnxfp.workflows.suspects import ALL, SEALED, Device, Examined, examined_file
from onnxfp.workflows.transcript import Transcript
from onnxfp.workflows.vault import Vault

BOTH = "both"
CHANNELS = {WEIGHTS: ALL - SEALED, ANSWERS: SEALED, BOTH: ALL}
"""What is looked at, to the access that it takes."""

NO_BOUND = "the words that were issued depend on one another, so that no bound on a false accusation holds"
NO_ANSWERS = (
    "no reference has copies that can be told by their answers; mark a model with --scheme deeptrace before issuing "
    "copies"
)
_NO_PLANS = "no recipient has a plan over these data; make one with `onnxfp pools plan --to` before training"
_NOBODY = "no copy was ever issued, so that there is nobody to name; nothing was asked"
_KNOWN = "not asked: what was asked before was enough"
_BLOCK = 256  # recipients weighed at a time


@dataclass(frozen=True)
class Tracing:
    """What of a suspect is looked at, and how much it is asked."""

    alpha: float
    at: str
    """Now, UTC, ISO 8601."""
    channels: str = WEIGHTS
    """``weights``, ``answers`` or ``both``."""
    limit: int = 0
    """Triggers sent at most, in all; 0 for no limit."""
    twice: bool = False
    """Send every trigger twice, to see whether the suspect changes its mind."""
    camouflage: int = 0
    """Ordinary inputs sent with every trigger."""
    shadows: Sequence[str] = ()
    """Digests of the models that it is compared with, where a claim is about pools."""
    augment: int = 0
    """Moved copies of each row that are asked besides, where a claim is about pools."""

    def settings(self) -> dict[str, Any]:
        """Return what was chosen, apart from alpha and the time; what was left alone is left out."""
        usual = asdict(Tracing(self.alpha, self.at))
        return {name: value for name, value in asdict(self).items() if (value or usual[name]) != usual[name]}


def trace_file(vault: Vault, question: Question, progress: Progress) -> Verdict:
    """Whose copy is this file? All recipients' words of all references, weighed against its weights."""
    with examined_file(vault, question.suspect, Device(), allow_links=question.allow_links) as suspect:
        return trace_suspect(vault, suspect, Tracing(question.alpha, question.at), progress)


def trace_suspect(
    vault: Vault,
    suspect: Examined,
    asking: Tracing,
    progress: Progress,
    transcript: Transcript | None = None,
    data: PoolData | None = None,
) -> Verdict:
    """Whose copy is this suspect? All recipients' words of all references, in the channels that were chosen.

    Args:
        vault: the owner's vault.
        suspect: who is examined.
        asking: which channels, and how much is asked.
        progress: told what is being done.
        transcript: takes down all answers.
        data: what claims about pools are about; None leaves them out.

    Raises:
        UsageError: what a claim is about does not do.
        TamperedError: the ledger is not whole.
    """
    vault.ledger.verify()
    recipients, references = vault.ledger.recipients(), registered_references(vault)
    claims = claims_about_copies(references, CHANNELS[asking.channels], data)
    claims, asking = with_shadows(vault, claims, data, progress), _beside(asking, data)
    reason = _why_not(asking, claims, recipients)
    if reason == NO_ANSWERS:
        reason = about_other_data(references, RECIPIENT, data) or (reason if data is None else _NO_PLANS)
    if reason:
        return replace(trace((), (), len(recipients), asking.alpha), reason=reason)
    asks = [claim for claim in claims if claim.asks]
    spent = spent_before(vault, asks, suspect.place)
    asked = ["trace", len(references), len(recipients)]
    asked += filter(None, (asking.settings(), sum(map(len, spent.values()))))
    asked += [*(repeated(vault, suspect) if asks else []), *about(data)]
    alpha = log_look(vault, suspect.identity, asking.alpha, asking.at, asked)
    ears = Ears(progress, transcript, spent)
    verdict, order = _weighed(_Looking(vault, suspect, replace(asking, alpha=alpha), recipients, ears), claims)
    if transcript is not None:
        transcript.facts |= {
            "question": "trace",
            "suspect": suspect.identity,
            "at": asking.at,
            "alpha": alpha,
            "besides": 0,
            "settings": asking.settings(),
            "claims": [claim.key for claim in order],
            "spent": {key: sorted(positions) for key, positions in spent.items()},
            "recipients": len(recipients),
        }
    return verdict


def _beside(asking: Tracing, data: PoolData | None) -> Tracing:
    return asking if data is None else replace(asking, **data.settings)


def replay_trace(
    vault: Vault, facts: Mapping[str, Any], recorded: Recorded, progress: Progress, data: PoolData | None = None
) -> Verdict:
    """Make a verdict again from a transcript: the same claims, recipients and settings; nothing is asked or logged.

    Raises:
        UsageError: a claim or a recipient of the transcript is not in this vault.
        TamperedError: the ledger is not whole.
    """
    vault.ledger.verify()
    refuse_missing(data, facts["claims"])
    known = claims_about_copies(registered_references(vault), ALL, data)
    claims = with_shadows(vault, recorded_claims(facts, known), data, progress)
    recipients = vault.ledger.recipients()[: facts["recipients"]]
    asking = recorded_asking(facts, Tracing)
    refuse_others(data, asking.shadows, asking.augment)
    if len(recipients) < facts["recipients"] or asking.channels not in CHANNELS:
        raise UsageError("the transcript weighs recipients or channels that this vault does not have; use its own")
    spent = {key: frozenset(positions) for key, positions in facts["spent"].items()}
    looking = _Looking(vault, recorded_suspect(facts, recorded), asking, recipients, Ears(progress, None, spent))
    verdict, _ = _weighed(looking, claims[::-1])  # who only answers is held against the last reference first
    return replace(verdict, replayed_from=facts["at"])


def _why_not(asking: Tracing, claims: Sequence[RegisteredClaim], recipients: Sequence[str]) -> str:
    """Return why nothing is looked at; empty where something is."""
    if asking.channels == ANSWERS and not claims:
        return NO_ANSWERS
    return _NOBODY if any(claim.asks for claim in claims) and not recipients else ""


@dataclass
class _Looking:
    """A look that is going on."""

    vault: Vault
    suspect: Examined
    asking: Tracing
    recipients: tuple[str, ...]
    ears: Ears
    sent: int = 0
    """Triggers, so far."""
    known: bool = False
    """Answers have named somebody."""
    threshold: float = 0.0
    """log10 of what the channels of one reference must reach together."""

    def copies(self, claims: Sequence[RegisteredClaim], answerer: Suspect) -> Copies:
        """Look at all channels of one reference, its weights first."""
        looks: list[Look] = []
        lost: list[str] = []
        for claim in sorted(claims, key=lambda claim: (claim.asks, claim.key)):
            try:
                drawn = claim.draw(self.vault)
                conduct = hidden_among(self.vault, claim, self._conduct(claim, len(claims)))
            except VaultError as problem:
                lost.append(f"{claim.name}: {problem}")
                continue
            if claim.asks:
                values = _other_values(looks, self.recipients)
                look = self._asked(drawn, answerer, conduct, still_needed(values, len(claims), self.threshold))
            else:
                (look,) = read_channels([drawn], answerer)
            look = replace(look, claim=claim.name, committed_at=claim.laid_down_at)
            looks.append(self._kept(look) if any(claim.asks for claim in claims) else look)
        found = [failing(look, [other for other in looks if other is not look]) for look in looks]
        return Copies(tuple(found), tuple(lost))

    def _conduct(self, claim: RegisteredClaim, channels: int) -> Conduct:
        left = max(0, self.asking.limit - self.sent) if self.asking.limit else 0
        shut = self.known or bool(self.asking.limit and not left)
        return Conduct(
            threshold=self.threshold + math.log10(sets_of(channels)),
            whose=self.recipients[0] if self.recipients else "",
            limit=left,
            twice=self.asking.twice,
            camouflage=self.asking.camouflage,
            last=self.ears.spent.get(claim.key, frozenset()),
            spend=spender(self.vault, claim, self.suspect.place, self.asking.at),
            can_be_asked=(lambda inputs: False) if shut else self.suspect.knows,
            unasked=_KNOWN if self.known else NO_ROOM,
        )

    def _asked(self, drawn: DrawnChannel, answerer: Suspect, conduct: Conduct, needed: Floats) -> Look:
        """Ask until somebody reaches what is still needed to be named (recipients,)."""
        words = KeptWords(drawn.words, self.recipients, drawn.public.codebook)
        crowd = Crowd(words.words, needed)
        look = interrogate(drawn, answerer, replace(conduct, enough=crowd.has_passed), "")
        self.sent += look.queries
        unheard = not look.queries and not self.known  # the limit was used up: others cannot decide for it
        self.known = self.known or crowd.has_passed(look)
        return replace(look, words=words, cut=look.cut or unheard)

    def _kept(self, look: Look) -> Look:
        """Weigh all recipients' words in one channel, once."""
        bet = look.bet()
        if bet is None or not look.independent:
            return look
        weighed: dict[str, float] = {}
        for start in range(0, len(self.recipients), _BLOCK):
            names = self.recipients[start : start + _BLOCK]
            weighed |= zip(names, look.weigh(bet, names).tolist(), strict=True)
        return replace(look, weighed=weighed)


def _weighed(looking: _Looking, claims: Sequence[RegisteredClaim]) -> tuple[Verdict, list[RegisteredClaim]]:
    """Look at all references; return the verdict and the claims in the order in which they were looked at."""
    references = tuple({claim.reference.digest: claim.reference for claim in claims}.values())
    issued, alpha = len(looking.recipients), looking.asking.alpha
    looking.threshold = log10_threshold(issued, alpha) + math.log10(max(1, len(references)))
    copies: list[Copies] = []
    order: list[RegisteredClaim] = []
    for reference, answerer in looking.suspect.beside(references):
        looking.ears.progress(f"reading against reference {reference.short}")
        transcript = looking.ears.transcript
        heard = answerer if transcript is None else transcript.of(answerer, reference.digest)
        mine = [claim for claim in claims if claim.reference.digest == reference.digest]
        copies.append(looking.copies(mine, heard))
        order += mine
    namable = [_namable(one) for one in copies]
    told = trace(
        [one for one in namable if one.looks or one.lost],
        looking.recipients,
        issued,
        alpha,
        lambda done: looking.ears.progress(f"weighed {done} recipients"),
    )
    if copies and not any(one.looks or one.lost for one in namable):
        told = replace(told, reason=f"{NO_BOUND}; `onnxfp trace --paper` decodes them as published")
    if looking.asking.channels == BOTH and not any(claim.asks for claim in claims):
        told = replace(told, unread=(*told.unread, NO_ANSWERS))
    return with_trust(told, order), order


def _namable(copies: Copies) -> Copies:
    return replace(copies, looks=tuple(look for look in copies.looks if look.independent))


def _other_values(looks: Sequence[Look], recipients: Sequence[str]) -> Floats:
    """Return log10 of the e-values (read, recipients) in channels that were weighed."""
    read = [[look.weighed[name] for name in recipients] for look in looks if look.weighed]
    return np.asarray(read, dtype=np.float64).reshape(len(read), len(recipients))

"""Verify: is it ours? The owner's claims, asked of a suspect one after the other and weighed together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onnxfp.domain import Access, Verdict
from onnxfp.errors import UsageError, VaultError
from onnxfp.verdict.look import Look
from onnxfp.verdict.verify import verify
from onnxfp.workflows.claims import OwnersClaim, chosen_claims, unborne
from onnxfp.workflows.interrogation import Conduct, interrogate
from onnxfp.workflows.judge import Progress, Question, log_look, registered_references
from onnxfp.workflows.recorded import Recorded
from onnxfp.workflows.samples import load_samples
from onnxfp.workflows.suspects import Device, Examined, ExaminedSealed, examined_file
from onnxfp.workflows.transcript import Transcript
from onnxfp.workflows.vault import Vault

_ALIKE = 0.5  # of the marked weights could be read: the suspect has the form of the reference

ANYWHERE = "anywhere"
"""Where triggers that were handed out count as seen."""


@dataclass(frozen=True)
class Asking:
    """How much is asked of a suspect, and of which claims."""

    alpha: float
    at: str
    """Now, UTC, ISO 8601."""
    claim: str = ""
    """First letters of the name of the only claims to weigh; empty for all that the suspect's access allows."""
    limit: int = 0
    """Triggers sent per claim at most; 0 for all."""
    fixed: bool = False
    """Send that many whatever is answered, so that exact tails hold."""
    twice: bool = False
    """Send every trigger of a position twice, to see whether the suspect changes its mind."""
    camouflage: int = 0
    """Ordinary inputs sent with every trigger."""

    def settings(self) -> dict[str, Any]:
        """Return what was chosen, apart from alpha and the time; what was left alone is left out."""
        chosen = {name: getattr(self, name) for name in ("claim", "limit", "fixed", "twice", "camouflage")}
        return {name: value for name, value in chosen.items() if value}


def verify_file(vault: Vault, question: Question, progress: Progress, device: Device = Device()) -> Verdict:  # noqa: B008
    """Is this file ours? The owner's claims of all references, weighed against its weights and its answers."""
    with examined_file(vault, question.suspect, device, allow_links=question.allow_links) as suspect:
        return verify_suspect(vault, suspect, Asking(question.alpha, question.at), progress)


def verify_suspect(
    vault: Vault, suspect: Examined, asking: Asking, progress: Progress, transcript: Transcript | None = None
) -> Verdict:
    """Is this suspect ours? Every claim of the owner's that its access allows has the same weight.

    Args:
        vault: the owner's vault.
        suspect: who is examined.
        asking: how much is asked.
        progress: told what is being done.
        transcript: takes down all answers.

    Raises:
        UsageError: no claim has the name that was given.
        TamperedError: the ledger is not whole.
    """
    vault.ledger.verify()
    references = registered_references(vault)
    claims = chosen_claims(references, suspect.access, asking.claim)
    absent = len(unborne(vault, references))  # also when one claim is chosen: what was drawn in vain was drawn
    spent = {claim.key: _spent(vault, claim, suspect.place) for claim in claims}
    asked = ["verify", len(references), *filter(None, (asking.settings(), sum(map(len, spent.values()))))]
    if suspect.repeats is None:  # the same question again is another chance for an innocent to be unlucky
        asked.append(f"look {vault.ledger.count_looks(suspect.identity)}")
    elif suspect.repeats:
        asked.append(suspect.repeats)
    alpha = log_look(vault, suspect.identity, asking.alpha, asking.at, asked)
    terms = Terms(alpha, absent, stop=not asking.fixed)
    if transcript is not None:
        transcript.facts |= {
            "suspect": suspect.identity,
            "at": asking.at,
            "alpha": alpha,
            "besides": absent,
            "settings": asking.settings(),
            "claims": [claim.key for claim in claims],
            "spent": {key: sorted(positions) for key, positions in spent.items()},
        }
    return weigh_claims(vault, suspect, claims, asking, terms, Ears(progress, transcript, spent))


def replay(vault: Vault, facts: Mapping[str, Any], recorded: Recorded, progress: Progress) -> Verdict:
    """Make a verdict again from a transcript: the same claims, alpha and settings; nothing is asked or logged.

    Raises:
        UsageError: a claim of the transcript is not in this vault.
        TamperedError: the ledger is not whole.
    """
    vault.ledger.verify()
    claims = {claim.key: claim for claim in chosen_claims(registered_references(vault), frozenset(Access), "")}
    if missing := [key for key in facts["claims"] if key not in claims]:
        raise UsageError(
            f"the transcript weighs {missing[0]!r:.60}, which this vault does not have; use the vault it is of"
        )
    try:
        asking = Asking(facts["alpha"], facts["at"], **facts["settings"])
    except TypeError as problem:
        raise UsageError(
            "the transcript has settings that this release does not know; use the one that wrote it"
        ) from problem
    suspect = ExaminedSealed(
        facts["suspect"], recorded, access=frozenset(Access), knows=recorded.knows, recorded_beside=recorded.beside
    )
    chosen = tuple(claims[key] for key in facts["claims"])
    spent = {key: frozenset(positions) for key, positions in facts["spent"].items()}
    ears = Ears(progress, None, spent)
    verdict = weigh_claims(vault, suspect, chosen, asking, Terms(facts["alpha"], facts["besides"]), ears)
    return replace(verdict, replayed_from=facts["at"])


@dataclass(frozen=True)
class Terms:
    """What was fixed before the first query."""

    alpha: float
    besides: int
    """Claims that share the weight and that no artifact bears."""
    stop: bool = False
    """Stop asking about a claim once it has said enough."""


@dataclass(frozen=True)
class Ears:
    """Who hears what is going on."""

    progress: Progress
    transcript: Transcript | None = None
    spent: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Per claim, the positions that the suspect has seen before."""


def weigh_claims(
    vault: Vault, suspect: Examined, claims: Sequence[OwnersClaim], asking: Asking, terms: Terms, ears: Ears
) -> Verdict:
    """Ask about every claim, and weigh the answers; one that the vault cannot draw any more keeps its weight."""
    threshold = math.log10(max(1, len(claims) + terms.besides)) - math.log10(terms.alpha)
    looks: dict[str, Look] = {}
    lost: list[str] = []
    references = tuple({claim.reference.digest: claim.reference for claim in claims}.values())
    for reference, answerer in suspect.beside(references):
        ears.progress(f"holding it against reference {reference.short}")
        heard = answerer if ears.transcript is None else ears.transcript.of(answerer, reference.digest)
        for claim in (claim for claim in claims if claim.reference.digest == reference.digest):
            conduct = Conduct(
                threshold=threshold,
                stop=terms.stop,
                limit=asking.limit,
                fixed=asking.fixed,
                twice=asking.twice,
                camouflage=asking.camouflage,
                ordinary=load_samples(vault, claim.channel.samples).get("pool") if asking.camouflage else None,
                last=ears.spent.get(claim.key, frozenset()),
                spend=_spender(vault, claim, suspect.place, asking.at),
                can_be_asked=suspect.can_be_asked,
            )
            try:
                drawn = reference.draw(vault, claim.channel)
            except VaultError as problem:
                lost.append(f"{claim.name}: {problem}")
                continue
            look = interrogate(drawn, heard, conduct, claim.name)
            looks[claim.key] = replace(look, committed_at=claim.channel.committed_at or reference.registered_at)
    asked = [claim for claim in claims if claim.key in looks]
    found = [_failing(looks[claim.key], claim, looks, asked) for claim in asked]
    return verify(found, terms.alpha, terms.besides, lost)


def _failing(look: Look, claim: OwnersClaim, looks: Mapping[str, Look], claims: Sequence[OwnersClaim]) -> Look:
    """Return a look as a failure if the suspect has the weights of the reference and does not take its inputs."""
    siblings = [looks[other.key] for other in claims if other.reference is claim.reference and other is not claim]
    alike = any(sibling.reading.coverage >= _ALIKE and not sibling.asks for sibling in siblings)
    return replace(look, failed=True) if look.asks and look.unfit and alike else look


def _spent(vault: Vault, claim: OwnersClaim, place: str) -> frozenset[int]:
    return vault.ledger.spent(claim.triggers, place, ANYWHERE) if place else frozenset()


def _spender(vault: Vault, claim: OwnersClaim, place: str, at: str) -> Callable[[Sequence[int]], None]:
    if not place:
        return lambda positions: None
    return lambda positions: vault.ledger.spend(claim.triggers, place, positions, at)

"""Verify: is it ours? The owner's claims, asked of a suspect one after the other and weighed together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onnxfp.domain import Access, Verdict
from onnxfp.errors import VaultError
from onnxfp.verdict.look import Look
from onnxfp.verdict.verify import verify
from onnxfp.workflows.channels import OWNER
from onnxfp.workflows.claims import OwnersClaim, about_other_data, chosen_claims, claims_about_copies, unborne
from onnxfp.workflows.interrogation import Conduct, interrogate
from onnxfp.workflows.judge import Progress, Question, log_look, registered_references
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
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.suspects import Device, Examined, examined_file
from onnxfp.workflows.transcript import Transcript
from onnxfp.workflows.vault import Vault

_ONLY_COPIES = (
    "no claim of the owner's can be asked of this suspect; `onnxfp trace` asks whose copy it is, by what copies answer"
)


_SETTINGS = ("claim", "limit", "fixed", "twice", "camouflage", "dated", "shadows", "augment")


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
    dated: str = ""
    """When the suspect is known to have been there, ISO 8601: what was laid down later says nothing of it."""
    shadows: Sequence[str] = ()
    """Digests of the models that it is compared with, where a claim is about pools."""
    augment: int = 0
    """Moved copies of each row that are asked besides, where a claim is about pools."""

    def settings(self) -> dict[str, Any]:
        """Return what was chosen, apart from alpha and the time; what was left alone is left out."""
        return {name: getattr(self, name) for name in _SETTINGS if getattr(self, name)}


def verify_file(vault: Vault, question: Question, progress: Progress, device: Device = Device()) -> Verdict:  # noqa: B008
    """Is this file ours? The owner's claims of all references, weighed against its weights and its answers."""
    with examined_file(vault, question.suspect, device, allow_links=question.allow_links) as suspect:
        return verify_suspect(vault, suspect, Asking(question.alpha, question.at), progress)


def verify_suspect(
    vault: Vault,
    suspect: Examined,
    asking: Asking,
    progress: Progress,
    transcript: Transcript | None = None,
    data: PoolData | None = None,
) -> Verdict:
    """Is this suspect ours? Every claim of the owner's that its access allows has the same weight.

    Args:
        vault: the owner's vault.
        suspect: who is examined.
        asking: how much is asked.
        progress: told what is being done.
        transcript: takes down all answers.
        data: what claims about pools are about; None leaves them out.

    Raises:
        UsageError: no claim has the name that was given, or what a claim is about does not do.
        TamperedError: the ledger is not whole.
    """
    vault.ledger.verify()
    references = registered_references(vault)
    claims = with_shadows(vault, chosen_claims(references, suspect.access, asking.claim, data), data, progress)
    asking = asking if data is None else replace(asking, **data.settings)
    absent = len(unborne(vault, references))  # also when one claim is chosen: what was drawn in vain was drawn
    spent = spent_before(vault, claims, suspect.place)
    asked = ["verify", len(references), *filter(None, (asking.settings(), sum(map(len, spent.values()))))]
    asked += [*repeated(vault, suspect), *about(data)]
    nothing = "" if claims else _why_nothing(references, suspect, data)
    alpha = asking.alpha if nothing else log_look(vault, suspect.identity, asking.alpha, asking.at, asked)
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
    verdict = weigh_claims(vault, suspect, claims, asking, terms, Ears(progress, transcript, spent))
    return replace(verdict, reason=nothing) if nothing else verdict


def _why_nothing(references: Sequence[Reference], suspect: Examined, data: PoolData | None) -> str:
    """Return why there is no claim to weigh; empty where there is nothing else to say of it."""
    if reason := about_other_data(references, OWNER, data):
        return reason
    return _ONLY_COPIES if claims_about_copies(references, suspect.access, data) else ""


def replay(
    vault: Vault, facts: Mapping[str, Any], recorded: Recorded, progress: Progress, data: PoolData | None = None
) -> Verdict:
    """Make a verdict again from a transcript: the same claims, alpha and settings; nothing is asked or logged.

    Raises:
        UsageError: a claim of the transcript is not in this vault, or it takes other data.
        TamperedError: the ledger is not whole.
    """
    vault.ledger.verify()
    asking = recorded_asking(facts, Asking)
    refuse_others(data, asking.shadows, asking.augment)
    refuse_missing(data, facts["claims"])
    known = chosen_claims(registered_references(vault), frozenset(Access), "", data)
    chosen = with_shadows(vault, recorded_claims(facts, known), data, progress)
    suspect = recorded_suspect(facts, recorded)
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
            if asking.dated and claim.laid_down_at > asking.dated:
                lost.append(f"{claim.name} was laid down at {claim.laid_down_at}, after the suspect of {asking.dated}")
                continue
            conduct = Conduct(
                threshold=threshold,
                stop=terms.stop,
                limit=asking.limit,
                fixed=asking.fixed,
                twice=asking.twice,
                camouflage=asking.camouflage,
                last=ears.spent.get(claim.key, frozenset()),
                spend=spender(vault, claim, suspect.place, asking.at),
                can_be_asked=suspect.knows,
            )
            try:
                drawn, conduct = claim.draw(vault), hidden_among(vault, claim, conduct)
            except VaultError as problem:
                lost.append(f"{claim.name}: {problem}")
                continue
            look = interrogate(drawn, heard, conduct, claim.name)
            looks[claim.key] = replace(look, committed_at=claim.laid_down_at)
    asked = [claim for claim in claims if claim.key in looks]
    found = [failing(looks[claim.key], _siblings(looks, claim, asked)) for claim in asked]
    return with_trust(verify(found, terms.alpha, terms.besides, lost), claims)


def _siblings(looks: Mapping[str, Look], claim: OwnersClaim, claims: Sequence[OwnersClaim]) -> list[Look]:
    return [looks[other.key] for other in claims if other.reference is claim.reference and other is not claim]

"""What every look has in common, at whomever: how it is logged, what was seen there before, who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from onnxfp.domain import Access
from onnxfp.errors import UsageError
from onnxfp.verdict.look import Look
from onnxfp.workflows.claims import RegisteredClaim
from onnxfp.workflows.interrogation import Conduct
from onnxfp.workflows.judge import Progress
from onnxfp.workflows.recorded import Recorded
from onnxfp.workflows.samples import load_samples
from onnxfp.workflows.suspects import Examined, ExaminedSealed
from onnxfp.workflows.transcript import Transcript
from onnxfp.workflows.vault import Vault

Asked = TypeVar("Asked")

_ALIKE = 0.5  # of the marked weights could be read: the suspect has the form of the reference

ANYWHERE = "anywhere"
"""Where triggers that were handed out count as seen."""


@dataclass(frozen=True)
class Ears:
    """Who hears what is going on."""

    progress: Progress
    transcript: Transcript | None = None
    spent: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Per claim, the positions that the suspect has seen before."""


def repeated(vault: Vault, suspect: Examined) -> list[str]:
    """Return what tells this look from an earlier one with the same settings, where the suspect may answer anew."""
    if suspect.repeats is None:  # the same question again is another chance for an innocent to be unlucky
        return [f"look {vault.ledger.count_looks(suspect.identity)}"]
    return [suspect.repeats] if suspect.repeats else []


def spent_before(vault: Vault, claims: Sequence[RegisteredClaim], place: str) -> dict[str, frozenset[int]]:
    """Return, per claim, the positions whose triggers were seen at a place or were handed out."""
    return {
        claim.key: vault.ledger.spent(claim.triggers, place, ANYWHERE) if place else frozenset() for claim in claims
    }


def hidden_among(vault: Vault, claim: RegisteredClaim, conduct: Conduct) -> Conduct:
    """Return a conduct with the ordinary inputs of a claim, if triggers are to be hidden among some.

    Raises:
        VaultError: what the vault keeps of them is missing or was changed.
    """
    if not conduct.camouflage:
        return conduct
    return replace(conduct, ordinary=load_samples(vault, claim.channel.samples).get("pool"))


def spender(vault: Vault, claim: RegisteredClaim, place: str, at: str) -> Callable[[Sequence[int]], None]:
    """Return who writes down which triggers are about to be seen at a place."""
    if not place:
        return lambda positions: None
    return lambda positions: vault.ledger.spend(claim.triggers, place, positions, at)


def failing(look: Look, siblings: Sequence[Look]) -> Look:
    """Return a look as a failure if the suspect has the weights of the reference and does not take its inputs."""
    alike = any(sibling.reading.coverage >= _ALIKE and not sibling.asks for sibling in siblings)
    return replace(look, failed=True) if look.asks and look.unfit and alike else look


def recorded_suspect(facts: Mapping[str, Any], recorded: Recorded) -> ExaminedSealed:
    """Return the suspect of a transcript."""
    return ExaminedSealed(
        facts["suspect"], recorded, access=frozenset(Access), knows=recorded.knows, recorded_beside=recorded.beside
    )


def recorded_claims(facts: Mapping[str, Any], claims: Sequence[RegisteredClaim]) -> tuple[RegisteredClaim, ...]:
    """Return the claims that a transcript weighs, in its order.

    Raises:
        UsageError: one of them is not in this vault.
    """
    known = {claim.key: claim for claim in claims}
    if missing := [key for key in facts["claims"] if key not in known]:
        raise UsageError(
            f"the transcript weighs {missing[0]!r:.60}, which this vault does not have; use the vault it is of"
        )
    return tuple(known[key] for key in facts["claims"])


def recorded_asking(facts: Mapping[str, Any], kind: Callable[..., Asked]) -> Asked:
    """Return what a transcript says of how much was asked.

    Raises:
        UsageError: a setting is not known.
    """
    try:
        return kind(facts["alpha"], facts["at"], **facts["settings"])
    except TypeError as problem:
        raise UsageError(
            "the transcript has settings that this release does not know; use the one that wrote it"
        ) from problem

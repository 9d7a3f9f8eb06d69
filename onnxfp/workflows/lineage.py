"""What a model bears already: the claims that were taught to it, or to what it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnxfp.errors import UsageError, VaultError
from onnxfp.suspect.session import Session
from onnxfp.workflows.channels import OWNER, DrawnChannel
from onnxfp.workflows.claims import OwnersClaim, chosen_claims
from onnxfp.workflows.interrogation import EVERYTHING, interrogate
from onnxfp.workflows.judge import Progress, registered_references
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.suspects import SEALED
from onnxfp.workflows.vault import Vault

BORNE = 3.0  # log10 e from which a model is taken to bear a claim: of strangers at most one in a thousand is

Earlier = Mapping[str, DrawnChannel]
"""Claims that were taught before, by their names."""


def earlier_claims(vault: Vault, digest: str, session: Session, progress: Progress) -> Earlier:
    """Return the claims that a model bears.

    Those of a registered artifact and of what it was made from stand in the ledger. Any other model is asked about all
    claims of the vault: it may be a marked one that was fine-tuned, pruned or converted since.

    Args:
        vault: the owner's vault.
        digest: of the model's weights.
        session: who runs it.
        progress: told what is being done, and of claims that cannot be asked.

    Raises:
        VaultError: what a claim of a registered artifact needs of the owner's data is missing or was changed.
    """
    references = registered_references(vault)
    ancestors = set(_ancestors(references, digest))
    found: dict[str, DrawnChannel] = {}
    for claim in chosen_claims(references, SEALED, ""):
        if claim.name in found:
            continue
        if claim.reference.digest in ancestors:
            found[claim.name] = claim.reference.draw(vault, claim.channel)
        elif drawn := _answered(vault, claim, session, progress):
            found[claim.name] = drawn
    return found


def refuse_prepared(references: Sequence[Reference], digest: str) -> None:
    """Refuse an artifact that was prepared for copies: training it once more would undo that.

    Raises:
        UsageError: it is one; the message names what it was made of.
    """
    for reference in references:
        if reference.digest == digest and any(channel.of and channel.in_copies for channel in reference.channels):
            raise UsageError(
                f"this model was prepared for copies, which another mark would undo; mark {reference.parent[:12]}, "
                "from which it was made, and prepare the result"
            )


def evidence(drawn: DrawnChannel, session: Session) -> float:
    """Return the evidence of all that a claim asks, log10 of the e-value; -inf where nothing was answered."""
    look = interrogate(drawn, session, EVERYTHING, "the claim")
    return look.log10_e(look.words([OWNER]))


def _ancestors(references: Sequence[Reference], digest: str) -> Iterator[str]:
    parents = {reference.digest: reference.parent for reference in references}
    while digest in parents:
        yield digest
        digest = parents.pop(digest)  # so that a ledger that ran in a circle would end here


def _answered(vault: Vault, claim: OwnersClaim, session: Session, progress: Progress) -> DrawnChannel | None:
    """Return a claim if the model answers to it."""
    progress(f"asking the model before about {claim.name}")
    try:
        drawn = claim.reference.draw(vault, claim.channel)
    except VaultError as problem:
        progress(f"{claim.name} cannot be asked about, and would be lost if the model bears it: {problem}")
        return None
    return drawn if evidence(drawn, session) >= BORNE else None

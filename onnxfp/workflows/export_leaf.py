"""Hand a third party one leaf: with it, and without the vault, anybody can ask a suspect for one recipient's word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxfp.artifact import check_target, write_whole
from onnxfp.errors import UsageError, VaultError
from onnxfp.keys.recipient import canonical_name
from onnxfp.ledger import IssueEntry
from onnxfp.workflows.claims import RegisteredClaim, claims_about_copies
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.leaf_file import ShownLeaf, leaf_of
from onnxfp.workflows.looking import ANYWHERE
from onnxfp.workflows.suspects import SEALED
from onnxfp.workflows.trace import NO_ANSWERS
from onnxfp.workflows.vault import Vault, refuse_inside_vault

MEANING = (
    "Whoever holds this file can filter its triggers, and can draw the word of this one recipient, and nobody else's; "
    "the triggers count as seen everywhere."
)


@dataclass(frozen=True)
class LeafExport:
    """What is asked of `export_leaf`."""

    recipient: str
    output: Path
    at: str
    """Now, UTC, ISO 8601."""
    reference: str = ""
    """First digits of the digest of the reference; empty for the only one of which the recipient holds a copy."""
    force: bool = False


@dataclass(frozen=True)
class ExportedLeaf:
    """What was handed out."""

    recipient: str
    reference: str
    scheme: str
    claim: str
    leaf: str
    """Digest of the leaf and of all that is asked for its word, as the ledger holds it since the copy was issued."""
    issued_at: str
    positions: int
    output: str
    head: str
    """What the ledger has come to; note it outside the vault."""


def export_leaf(vault: Vault, request: LeafExport) -> ExportedLeaf:
    """Write the leaf of one recipient's copy and all that is asked for its word; its triggers are spent.

    Raises:
        UsageError: the recipient was issued no copy that answers in its own way, or several, or the output is refused.
        VaultError: the leaf comes out otherwise than the ledger holds it, or the vault has lost what it needs.
        TamperedError: the ledger is not whole.
    """
    refuse_inside_vault(request.output)
    check_target(request.output, force=request.force)
    vault.ledger.verify()
    entry, claim = _the_copy(vault, canonical_name(request.recipient), request.reference)
    shown = leaf_of(claim.reference.draw(vault, claim.channel), entry.recipient, entry.reference)
    if shown is None or shown.digest != entry.leaf:
        raise VaultError(
            f"the ledger holds the leaf of {entry.recipient} as {entry.leaf[:12] or 'none'}, and it comes out "
            "otherwise; use the release that issued the copy"
        )
    vault.ledger.spend(claim.triggers, ANYWHERE, range(len(shown.inputs)), request.at)
    write_whole(request.output, shown.packed(str(entry.issued_at)), force=request.force)
    return _exported(vault, request, shown, str(entry.issued_at))


def _the_copy(vault: Vault, name: str, prefix: str) -> tuple[IssueEntry, RegisteredClaim]:
    """Return the one copy that a recipient holds whose word hangs on a leaf, and the claim about it."""
    claims = _claims(vault, prefix)
    issued = {entry.reference: entry for entry in vault.ledger.issues() if entry.recipient == name and entry.artifact}
    found = [(issued[claim.reference.digest], claim) for claim in claims if claim.reference.digest in issued]
    if not found:
        known = ", ".join(claim.reference.short for claim in claims)
        raise UsageError(f"{name} was issued no copy of {known}; a leaf is shown for a copy that was issued")
    if len(found) > 1:
        several = ", ".join(claim.reference.short for _, claim in found)
        raise UsageError(f"{name} holds copies of several references ({several}); name one with --reference")
    return found[0]


def _claims(vault: Vault, prefix: str) -> Sequence[RegisteredClaim]:
    """Return the claims about copies that answer, of the references that may be meant."""
    claims = claims_about_copies(registered_references(vault), SEALED)
    if not claims:
        raise UsageError(NO_ANSWERS)
    meant = [claim for claim in claims if claim.reference.digest.startswith(prefix)]
    if not meant:
        known = ", ".join(claim.reference.short for claim in claims)
        raise UsageError(f"no reference whose copies can be told by their answers begins with {prefix!r:.40}: {known}")
    return meant


def _exported(vault: Vault, request: LeafExport, shown: ShownLeaf, issued_at: str) -> ExportedLeaf:
    whose = shown.whose
    return ExportedLeaf(
        recipient=whose.recipient,
        reference=whose.reference,
        scheme=whose.scheme,
        claim=whose.claim,
        leaf=shown.digest,
        issued_at=issued_at,
        positions=len(shown.inputs),
        output=str(request.output),
        head=vault.ledger.head(),
    )


def exported_rows(exported: ExportedLeaf) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    return [
        ("recipient", exported.recipient),
        ("reference", exported.reference),
        ("claim", f"{exported.scheme} {exported.claim}"),
        ("leaf digest", f"{exported.leaf}, in the ledger since {exported.issued_at}"),
        ("triggers", f"{exported.positions}, all of them spent now"),
        ("written to", exported.output),
        ("ledger head", exported.head),
    ]

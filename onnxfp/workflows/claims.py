"""Claims: which there are, about the owner and about copies, what they are called, and which were drawn in vain."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from onnxfp.domain import Access
from onnxfp.errors import UsageError
from onnxfp.ledger import DrawnEntry
from onnxfp.schemes.catalogue import scheme_named
from onnxfp.schemes.interface import Samples, Scheme
from onnxfp.workflows.channels import OWNER, RECIPIENT, Channel, DrawnChannel
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.vault import Vault


@dataclass(frozen=True)
class RegisteredClaim:
    """A channel of a reference, with its name: a claim of the owner's, or one about the recipients of copies."""

    reference: Reference
    channel: Channel
    handed: Samples = field(default_factory=dict, repr=False)
    """What of the owner's data it is about, where the vault does not keep them."""
    trusts: str = ""
    """What besides the key is taken on trust when it is weighed, in words."""

    def draw(self, vault: Vault) -> DrawnChannel:
        """Draw its key.

        Raises:
            VaultError: what the vault keeps of the owner's data is missing or was changed.
        """
        return self.reference.draw(vault, self.channel, self.handed)

    @property
    def scheme(self) -> Scheme[Any]:
        """What it is a claim of."""
        return scheme_named(self.channel.scheme)

    @property
    def identifier(self) -> str:
        """Of the commitment, or of the reference that it came with."""
        return self.channel.commitment or self.reference.digest

    @property
    def name(self) -> str:
        """What people call it: scheme and first digits."""
        after = f" {self._beacon}" if self._beacon else ""
        return f"{self.channel.scheme} {self.identifier[:12]}{after}"

    @property
    def triggers(self) -> str:
        """What the ledger calls its triggers: they are the same whatever the beacon."""
        return f"{self.channel.scheme}:{self.identifier}"

    @property
    def key(self) -> str:
        """What transcripts call it: no other claim of any reference is called so."""
        return f"{self.triggers}:{self._beacon}" if self._beacon else self.triggers

    @property
    def asks(self) -> bool:
        """Whether it asks for answers; else it reads weights."""
        return self.scheme.access is not Access.WEIGHTS

    @property
    def laid_down_at(self) -> str:
        """When it was committed to, UTC, ISO 8601."""
        return self.channel.committed_at or self.reference.registered_at

    @property
    def _beacon(self) -> str:
        beacon = self.channel.beacon
        return hashlib.sha256(beacon.encode()).hexdigest()[:8] if beacon else ""

    def why_absent(self, evidence: Handed | None) -> str:
        """Return why it cannot be asked with these data, in words; empty where it can."""
        if not self.scheme.handed:
            return ""
        if evidence is None:
            return f"{self.name} is about data that the vault does not keep; give them with --data"
        if evidence.digest != self.reference.digest:
            return (
                f"{self.name} is about other data than these {evidence.rows} rows: their digest is "
                f"{evidence.digest[:12]}, not {self.reference.short}; give the file that was planned with, no row "
                "missing or changed"
            )
        return ""

    def about(self, evidence: Handed | None) -> RegisteredClaim:
        """Return it with the data that it is about, if the vault does not keep them."""
        return replace(self, handed=evidence.samples) if self.scheme.handed and evidence is not None else self

    def is_called(self, name: str) -> bool:
        """Return whether a person may have meant it: by its scheme, or by first digits."""
        by_digits = name != "" and (self.identifier.startswith(name) or (" " in name and self.name.startswith(name)))
        return name in ("", self.channel.scheme) or by_digits


class Handed(Protocol):
    """Data of the owner's that a look is given."""

    @property
    def digest(self) -> str:
        """What identifies them."""
        ...

    @property
    def rows(self) -> int:
        """How many there are."""
        ...

    @property
    def samples(self) -> Samples:
        """They, by name."""
        ...


OwnersClaim = RegisteredClaim
"""One of the owner's."""


def chosen_claims(
    references: Sequence[Reference], access: frozenset[Access], name: str, evidence: Handed | None = None
) -> tuple[OwnersClaim, ...]:
    """Return the owner's claims that a suspect's access allows, of all references or those of some name.

    Those about data that the vault does not keep are among them where these data are given.

    Raises:
        UsageError: no claim has that name, or the data are not those that it is about.
    """
    claims = _claims(references, OWNER, access, evidence)
    chosen = tuple(claim for claim in claims if claim.is_called(name))
    if name and not chosen:
        absent = [claim for claim in _all_claims(references, OWNER, access) if claim.is_called(name)]
        known = ", ".join(claim.name for claim in claims) or "none"
        reason = (absent[-1].why_absent(evidence) if absent else "") or f"there are: {known}"
        raise UsageError(f"no claim that can be asked of this suspect is called {name!r}; {reason}")
    return chosen


def about_other_data(references: Sequence[Reference], role: str, evidence: Handed | None) -> str:
    """Return why nothing is asked, in words, where all that there is are claims about other data than are given."""
    claims = _all_claims(references, role, frozenset(Access))
    absent = [why for claim in claims if (why := claim.why_absent(evidence))]
    return absent[-1] if absent and len(absent) == len(claims) else ""


def claims_about_copies(
    references: Sequence[Reference], access: frozenset[Access], evidence: Handed | None = None
) -> tuple[RegisteredClaim, ...]:
    """Return the claims, about recipients, that some access allows, and for which the data are there."""
    return _claims(references, RECIPIENT, access, evidence)


def _claims(
    references: Sequence[Reference], role: str, access: frozenset[Access], evidence: Handed | None
) -> tuple[RegisteredClaim, ...]:
    claims = _all_claims(references, role, access)
    return tuple(claim.about(evidence) for claim in claims if not claim.why_absent(evidence))


def _all_claims(references: Sequence[Reference], role: str, access: frozenset[Access]) -> tuple[RegisteredClaim, ...]:
    return tuple(
        RegisteredClaim(reference, channel)
        for reference in references
        for channel in reference.channels
        if channel.role == role and scheme_named(channel.scheme).access in access
    )


def bearer(references: Sequence[Reference], commitment: str, beacon: str) -> Reference | None:
    """Return the registered artifact that bears the symbols of one draw, if there is one."""
    for reference in references:
        if any((channel.commitment, channel.beacon) == (commitment, beacon) for channel in reference.channels):
            return reference
    return None


def unborne(vault: Vault, references: Sequence[Reference]) -> tuple[DrawnEntry, ...]:
    """Return the draws of the owner's symbols that no registered artifact bears: every key that was drawn counts.

    Of a claim about copies no symbol is weighed before a copy is issued, and that takes an artifact that bears it.
    """
    borne = {(channel.commitment, channel.beacon) for reference in references for channel in reference.channels}
    owners = {entry.commitment for entry in vault.ledger.commitments() if entry.payload["role"] == OWNER}
    return tuple(
        entry
        for entry in vault.ledger.drawn()
        if entry.commitment in owners and (entry.commitment, entry.beacon) not in borne
    )

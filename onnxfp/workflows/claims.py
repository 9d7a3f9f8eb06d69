"""The owner's claims: which there are, what they are called, and how many keys were drawn in vain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnxfp.domain import Access
from onnxfp.errors import UsageError
from onnxfp.ledger import DrawnEntry
from onnxfp.schemes.catalogue import scheme_named
from onnxfp.schemes.interface import Scheme
from onnxfp.workflows.channels import OWNER, Channel
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.vault import Vault


@dataclass(frozen=True)
class OwnersClaim:
    """One claim of the owner's: a channel of a reference, with its name."""

    reference: Reference
    channel: Channel

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
        return f"{self.channel.scheme} {self.identifier[:12]}"

    @property
    def key(self) -> str:
        """What the ledger and transcripts call it."""
        return f"{self.channel.scheme}:{self.identifier}"

    def is_called(self, name: str) -> bool:
        """Return whether a person may have meant it: by its scheme, or by first digits."""
        return name in ("", self.channel.scheme) or self.identifier.startswith(name) or self.name.startswith(name)


def chosen_claims(references: Sequence[Reference], access: frozenset[Access], name: str) -> tuple[OwnersClaim, ...]:
    """Return the owner's claims that a suspect's access allows, of all references or those of some name.

    Raises:
        UsageError: no claim has that name.
    """
    claims = tuple(
        OwnersClaim(reference, channel)
        for reference in references
        for channel in reference.channels
        if channel.role == OWNER and scheme_named(channel.scheme).access in access
    )
    chosen = tuple(claim for claim in claims if claim.is_called(name))
    if name and not chosen:
        known = ", ".join(claim.name for claim in claims) or "none"
        raise UsageError(f"no claim that this suspect's access allows is called {name!r}; there are: {known}")
    return chosen


def unborne(vault: Vault, references: Sequence[Reference]) -> tuple[DrawnEntry, ...]:
    """Return the draws of symbols that no registered artifact bears: every key that was drawn counts."""
    borne = {(channel.commitment, channel.beacon) for reference in references for channel in reference.channels}
    return tuple(entry for entry in vault.ledger.drawn() if (entry.commitment, entry.beacon) not in borne)

"""What an artifact bears already: the claims that were taught to it, or to what it was made from."""

from __future__ import annotations

from collections.abc import Mapping

from onnxfp.workflows.channels import OWNER, DrawnChannel
from onnxfp.workflows.claims import OwnersClaim
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.vault import Vault

Earlier = Mapping[str, DrawnChannel]
"""Claims that were taught before, by their names, the last one first."""


def earlier_claims(vault: Vault, digest: str) -> Earlier:
    """Return the claims that an artifact of this digest bears; none if it is not registered or was never taught.

    Raises:
        VaultError: what a claim needs of the owner's data is missing or was changed.
    """
    references = {reference.digest: reference for reference in registered_references(vault)}
    found: dict[str, DrawnChannel] = {}
    while digest in references:
        reference = references.pop(digest)  # so that a ledger that ran in a circle would end here
        for channel in reference.channels:
            if channel.role == OWNER and channel.of:
                found[OwnersClaim(reference, channel).name] = reference.draw(vault, channel)
        digest = reference.parent
    return found

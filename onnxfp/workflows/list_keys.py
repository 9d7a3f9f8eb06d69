"""Which key images were handed out, to whom, and which of them still hold; and taking them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxfp.errors import UsageError
from onnxfp.ledger import KeyEntry
from onnxfp.workflows.vault import Vault


@dataclass(frozen=True)
class HeldKey:
    """One key image that was handed out."""

    serial: int
    recipient: str
    state: str
    """``valid``, ``expired`` or ``revoked``."""
    claim: str
    reference: str
    issued_at: str
    expires: str | None
    revoked_at: str | None
    revoked_because: str | None


@dataclass(frozen=True)
class HeldKeys:
    """Some of them, by serial."""

    keys: tuple[HeldKey, ...]
    head: str
    """What the ledger has come to; note it outside the vault."""


@dataclass(frozen=True)
class RevokedKeys(HeldKeys):
    """Those that were to be revoked."""

    before: tuple[int, ...]
    """Serials that were revoked already: nothing was recorded of them now, also not the reason."""


def list_keys(vault: Vault, at: str) -> HeldKeys:
    """Return all key images that were handed out, of all claims.

    Raises:
        TamperedError: the ledger is not whole.
    """
    vault.ledger.verify()
    return HeldKeys(tuple(_key(entry, at) for entry in vault.ledger.issued_keys()), vault.ledger.head())


def revoke_key(vault: Vault, serials: Sequence[int], recipient: str, reason: str, at: str) -> RevokedKeys:
    """Revoke key images by serial, or all of a recipient's; what is revoked already keeps its first day and reason.

    Raises:
        UsageError: not exactly one of the two was said, or nothing of that was ever handed out.
        TamperedError: the ledger is not whole.
    """
    if bool(serials) == bool(recipient):
        raise UsageError("expected either --to NAME or serials, found both or neither; see `onnxfp keys list`")
    vault.ledger.verify()
    entries, before = vault.ledger.revoke_keys(at, serials, recipient, reason)
    return RevokedKeys(tuple(_key(entry, at) for entry in entries), vault.ledger.head(), before)


def _key(entry: KeyEntry, at: str) -> HeldKey:
    state = "revoked" if entry.revoked_at else "expired" if entry.has_expired(at) else "valid"
    return HeldKey(
        entry.serial,
        entry.recipient,
        state,
        entry.claim,
        entry.reference,
        entry.issued_at,
        entry.expires or None,
        entry.revoked_at,
        entry.reason or None,
    )


def held_rows(held: HeldKeys) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    rows = [(f"{key.serial}", f"{key.state:<7}  {key.recipient}  ({_life(key)})") for key in held.keys]
    return [("serial", "state    recipient"), *rows] if rows else [("none", "no key image was handed out yet")]


def revoked_rows(revoked: RevokedKeys) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    rows, before = held_rows(revoked), ", ".join(map(str, revoked.before))
    kept = f"{before} (day and reason stay as they were; nothing was recorded now)"
    return [*rows, ("revoked before", kept)] if before else rows


def _life(key: HeldKey) -> str:
    until = f", until {key.expires}" if key.expires else ""
    because = f": {key.revoked_because}" if key.revoked_because else ""
    ended = f", revoked {key.revoked_at}{because}" if key.revoked_at else ""
    return f"{key.claim.partition(':')[0]} {key.claim.partition(':')[2][:12]}, issued {key.issued_at}{until}{ended}"

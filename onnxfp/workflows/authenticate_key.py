"""Whose key image is this? Read the payload of a picture that somebody presents, and look it up in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxfp.domain import Decision
from onnxfp.errors import VaultError
from onnxfp.ledger import KeyEntry
from onnxfp.stego.key_image import Found, Status, examine
from onnxfp.stego.payload import Payload, Pixels
from onnxfp.workflows.honouring import NO, NOBODY, UNKNOWN, Honoured, check_askable, honoured_by
from onnxfp.workflows.issue_key import MEANING, payload_of
from onnxfp.workflows.key_claims import KeyClaim, digest_of, lost_claim, readable_key_claims
from onnxfp.workflows.key_images import in_channels, read_picture
from onnxfp.workflows.reaching import SuspectAt
from onnxfp.workflows.vault import Vault

GENUINE, EXPIRED, REVOKED = "genuine", "expired", "revoked"
DAMAGED, NOT_OURS = Status.DAMAGED.value, Status.NOT_OURS.value

_RANK = {Status.GENUINE: 0, Status.DAMAGED: 1, Status.NOT_OURS: 2}
_COLOURED = Found(Status.NOT_OURS, None, None, "it is coloured, and pictures of ours of this size are grey")


@dataclass(frozen=True)
class Presented:
    """What is asked of `authenticate_key`."""

    picture: Path
    at: str
    """Now, UTC, ISO 8601."""
    claim: str = ""
    suspect: SuspectAt = NOBODY


@dataclass(frozen=True)
class Authenticated:
    """What a picture turned out to be; its fields are those of the JSON."""

    status: str
    """``genuine``, ``expired``, ``revoked``, ``damaged`` or ``not_ours``."""
    reason: str
    meaning: str
    claim: str | None
    """The claim whose key it reads under."""
    recipient: str | None
    serial: int | None
    issued_at: str | None
    expires: str | None
    revoked_at: str | None
    revoked_because: str | None
    as_issued: bool | None
    """Whether every pixel is as it was issued."""
    corrected_bytes: int | None
    capacity_bytes: int
    payload_bytes: int
    correctable_bytes: int
    honoured: str | None
    """Whether the suspect answers the additional class: ``yes``, ``no``, ``unknown``; None where nobody was asked."""
    honoured_reason: str | None
    provider: str | None

    @property
    def decision(self) -> Decision:
        """What the exit status says."""
        if self.status != GENUINE or self.honoured == NO:
            return Decision.NOT_SUPPORTED
        return Decision.INCONCLUSIVE if self.honoured == UNKNOWN else Decision.SUPPORTED


def authenticate_key(vault: Vault, presented: Presented) -> Authenticated:
    """Say what a picture is, under the key of every claim that has pictures of its size, or of those of some name.

    Raises:
        UsageError: the file cannot be read without loss, or there is no such claim.
        VaultError: it is genuine, and the ledger does not hold it: no such serial, or handed to somebody else; or it is
            of no claim that can be drawn, and the vault has lost what another one needs.
        TamperedError: the ledger is not whole.
    """
    check_askable(presented.suspect)
    vault.ledger.verify()
    claims, lost = readable_key_claims(vault, presented.claim)
    result = authenticate_key_of(vault, claims, presented) if claims else None
    if result is None or (lost and result.recipient is None):
        raise lost_claim(lost)
    return result


def authenticate_key_of(vault: Vault, claims: Sequence[KeyClaim], presented: Presented) -> Authenticated:
    """Say what a picture is, under the keys of some claims."""
    picture = read_picture(presented.picture, {claim.size for claim in claims})
    fitting = [claim for claim in claims if claim.size == picture.shape[:2]]
    found = [(claim, _examined(claim, picture)) for claim in fitting]
    claim, best = min(found, key=lambda one: _RANK[one[1].status])
    result = _told(claim, best)
    pixels = in_channels(picture, claim.channels)
    if best.payload is None or pixels is None:
        return result
    entry = _entry(vault, claim, best.payload)
    result = replace(_looked_up(entry, result, presented.at), as_issued=digest_of(pixels) == entry.picture)
    if presented.suspect.where is None:
        return result
    return _asked(result, honoured_by(vault, presented.suspect, claim, pixels))


def _examined(claim: KeyClaim, picture: Pixels) -> Found:
    pixels = in_channels(picture, claim.channels)
    return _COLOURED if pixels is None else examine(pixels, claim.keystream, claim.key, claim.images.pictures)


def _told(claim: KeyClaim, found: Found) -> Authenticated:
    """Return what the pixels alone say."""
    room = claim.capacity
    return Authenticated(
        status=found.status.value,
        reason=found.reason,
        meaning=MEANING,
        claim=None if found.status is Status.NOT_OURS else claim.name,
        recipient=None,
        serial=None,
        issued_at=None,
        expires=None,
        revoked_at=None,
        revoked_because=None,
        as_issued=None,
        corrected_bytes=found.corrected,
        capacity_bytes=room.available,
        payload_bytes=room.used,
        correctable_bytes=room.correctable,
        honoured=None,
        honoured_reason=None,
        provider=None,
    )


def _looked_up(entry: KeyEntry, result: Authenticated, at: str) -> Authenticated:
    """Return the same with what the ledger knows of a genuine picture."""
    status, reason = GENUINE, ""
    if entry.revoked_at is not None:
        status, reason = REVOKED, f"it was revoked at {entry.revoked_at}"
    elif entry.has_expired(at):
        status, reason = EXPIRED, f"its last day was {entry.expires} (UTC)"
    return replace(
        result,
        status=status,
        reason=reason,
        recipient=entry.recipient,
        serial=entry.serial,
        issued_at=entry.issued_at,
        expires=entry.expires or None,
        revoked_at=entry.revoked_at,
        revoked_because=entry.reason or None,
    )


def _entry(vault: Vault, claim: KeyClaim, payload: Payload) -> KeyEntry:
    for entry in vault.ledger.issued_keys(claim.key):
        if entry.serial == payload.serial and payload_of(claim, entry) == payload:
            return entry
    raise VaultError(
        f"the picture is genuine and the ledger does not hold it, serial {payload.serial}: it was cut, or restored "
        "from an older backup, or a clone of this vault handed it out; find the newest ledger"
    )


def _asked(result: Authenticated, honoured: Honoured) -> Authenticated:
    return replace(
        result,
        honoured=honoured.answer,
        honoured_reason=honoured.reason or None,
        provider=honoured.provider or None,
    )


def authenticated_rows(result: Authenticated) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    rows = [("status", result.status.upper().replace("_", " ")), ("why", result.reason), ("claim", result.claim)]
    if result.serial is not None:
        rows += [
            ("recipient", result.recipient),
            ("serial", str(result.serial)),
            ("issued at", result.issued_at),
            ("expires", result.expires or "never"),
            ("revoked", f"{result.revoked_at} {result.revoked_because or ''}".strip() if result.revoked_at else None),
            ("pixels", "as issued" if result.as_issued else "low bits differ from what was issued"),
        ]
    repaired = "none could be read" if result.corrected_bytes is None else f"{result.corrected_bytes} repaired"
    most = f"{result.correctable_bytes} at most"
    rows += [
        ("payload", f"{result.payload_bytes} of {result.capacity_bytes} bytes, {repaired}, {most}"),
        ("honoured", _shown(result) if result.honoured else None),
        ("what it says", result.meaning),
    ]
    return [(name, value) for name, value in rows if value]


def _shown(result: Authenticated) -> str:
    said = "could not look" if result.honoured == UNKNOWN else str(result.honoured)
    why = f": {result.honoured_reason}" if result.honoured_reason else ""
    return f"{said}{why}{f' ({result.provider})' if result.provider else ''}"

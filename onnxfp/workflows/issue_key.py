"""Hand a holder one key image: take a cover and a serial in the ledger, seal the payload, write the picture."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from onnxfp.errors import UsageError, VaultError
from onnxfp.ledger import KeyEntry, KeyRequest
from onnxfp.stego.key_image import seal
from onnxfp.stego.payload import Payload, Pixels, issue_of
from onnxfp.workflows.key_claims import KeyClaim, digest_of, key_claims, the_key_claim
from onnxfp.workflows.key_images import check_output, write_picture
from onnxfp.workflows.vault import Vault

_EPOCH = date(1970, 1, 1)

MEANING = (
    "authenticates whoever presents the picture, also a copy of it; names no leaker, is no evidence about a copy of "
    "the model, and no proof of ownership (`onnxfp verify` is)"
)


@dataclass(frozen=True)
class KeyIssuing:
    """What is asked of `issue_key`."""

    recipient: str
    output: Path
    at: str
    """Now, UTC, ISO 8601."""
    claim: str = ""
    expires: str = ""
    """The last day on which it holds, UTC, ``YYYY-MM-DD``; empty for no end."""
    force: bool = False


@dataclass(frozen=True)
class IssuedKey:
    """What was handed out."""

    recipient: str
    serial: int
    claim: str
    reference: str
    issued_at: str
    expires: str | None
    output: str
    before: bool
    """Whether the recipient held it already, and got the same bytes again."""
    also_holds: tuple[int, ...]
    """Other serials of the recipient's that are neither revoked nor expired."""
    width: int
    height: int
    enlarged: int
    """How often every pixel of the cover is repeated in each direction; the model sees the picture shrunk again."""
    capacity_bytes: int
    payload_bytes: int
    """Fields, tag and parity."""
    correctable_bytes: int
    covers_left: int
    meaning: str
    head: str
    """What the ledger has come to; note it outside the vault."""


def issue_key(vault: Vault, request: KeyIssuing) -> IssuedKey:
    """Hand out a key image of the only claim that has some, or of the one that was named.

    Raises:
        UsageError: there is no such claim, or several; the name, the day or the output is refused; or all pictures are
            handed out.
        TamperedError: the ledger is not whole.
    """
    check_output(request.output, force=request.force)
    vault.ledger.verify()
    return issue_key_of(vault, the_key_claim(key_claims(vault, request.claim)), request)


def issue_key_of(vault: Vault, claim: KeyClaim, request: KeyIssuing) -> IssuedKey:
    """Hand out a key image of a claim; the same recipient and last day get the same bytes while it holds.

    The entry is durable before the file exists: whatever interrupts this, issuing again completes it.
    """
    check_output(request.output, force=request.force)
    _check_day(request.expires)
    wanted = KeyRequest(claim.reference, claim.key, request.recipient, request.expires, len(claim.images.pictures))
    made: list[int] = []

    def picture_of(entry: KeyEntry) -> str:
        made.append(entry.serial)
        return digest_of(_sealed(claim, entry))

    entry = vault.ledger.issue_key(wanted, picture_of, request.at)
    pixels = _sealed(claim, entry)
    if digest_of(pixels) != entry.picture:
        raise VaultError(
            f"serial {entry.serial} comes out with other pixels than were issued at {entry.issued_at}; use the release "
            "that issued it, or revoke it and issue anew"
        )
    write_picture(request.output, pixels, force=request.force)
    return _issued(vault, claim, request, entry, before=entry.serial not in made)


def payload_of(claim: KeyClaim, entry: KeyEntry) -> Payload:
    """Return what the picture of an entry carries: name and time of the entry itself, whoever asks and whenever."""
    issue = issue_of(claim.keystream, claim.key, entry.recipient, entry.issued_at)
    return Payload(entry.cover, entry.serial, _days_of(entry.expires), issue)


def _sealed(claim: KeyClaim, entry: KeyEntry) -> Pixels:
    return seal(claim.images.pictures[entry.cover], payload_of(claim, entry), claim.keystream, claim.key)


def _issued(vault: Vault, claim: KeyClaim, request: KeyIssuing, entry: KeyEntry, *, before: bool) -> IssuedKey:
    entries, room = vault.ledger.issued_keys(claim.key), claim.capacity
    others = (one for one in entries if one.recipient == entry.recipient and one.serial != entry.serial)
    return IssuedKey(
        recipient=entry.recipient,
        serial=entry.serial,
        claim=claim.name,
        reference=claim.reference,
        issued_at=entry.issued_at,
        expires=entry.expires or None,
        output=str(request.output),
        before=before,
        also_holds=tuple(one.serial for one in others if one.holds(request.at)),
        width=claim.size[1],
        height=claim.size[0],
        enlarged=room.scale,
        capacity_bytes=room.available,
        payload_bytes=room.used,
        correctable_bytes=room.correctable,
        covers_left=len(claim.images.pictures) - len(entries),
        meaning=MEANING,
        head=vault.ledger.head(),
    )


def _days_of(expires: str) -> int:
    """Return a day of the ledger's (``YYYY-MM-DD``, or empty) as payloads hold it."""
    return (date.fromisoformat(expires) - _EPOCH).days if expires else 0


def _check_day(text: str) -> None:
    try:
        if not text or date.fromisoformat(text).isoformat() == text:
            _days_of(text)
            return
    except ValueError:
        pass
    raise UsageError(f"expected a day as YYYY-MM-DD, found {text!r:.40}")


def issued_key_rows(issued: IssuedKey) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    enlarged = f", every pixel {issued.enlarged} x {issued.enlarged} times" if issued.enlarged > 1 else ""
    also = f"; also holds {', '.join(map(str, issued.also_holds))}" if issued.also_holds else ""
    return [
        ("recipient", issued.recipient),
        ("serial", f"{issued.serial}{' (held already: the same bytes again)' if issued.before else ''}{also}"),
        ("claim", issued.claim),
        ("expires", issued.expires or "never"),
        ("written to", f"{issued.output} ({issued.width} x {issued.height} pixels{enlarged})"),
        (
            "payload",
            f"{issued.payload_bytes} of {issued.capacity_bytes} bytes; {issued.correctable_bytes} can be repaired",
        ),
        ("covers left", str(issued.covers_left)),
        ("what it does", issued.meaning),
        ("ledger head", issued.head),
    ]

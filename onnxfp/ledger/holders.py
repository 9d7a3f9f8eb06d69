"""Who was handed which key image: one cover and one serial each, until it expires or is revoked, and never anew.

A serial is unique in the ledger, a cover within its claim; both are used up once, also by what was revoked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

from onnxfp.errors import UsageError
from onnxfp.keys.recipient import canonical_name
from onnxfp.ledger.entries import Kind, Row, canonical_json
from onnxfp.ledger.journal import Journal


@final
@dataclass(frozen=True)
class KeyRequest:
    """Who shall get a key image of which claim."""

    reference: str
    """Digest of the artifact that answers it."""
    claim: str
    recipient: str
    """A name in any spelling."""
    expires: str
    """The last day on which it holds, UTC, ``YYYY-MM-DD``; empty for no end."""
    covers: int
    """How many pictures the claim has."""


@final
@dataclass(frozen=True)
class KeyEntry:
    """One key image that was handed out."""

    reference: str
    claim: str
    recipient: str
    serial: int
    cover: int
    expires: str
    picture: str
    """Digest of its pixels."""
    issued_at: str
    revoked_at: str | None = None
    reason: str = ""
    """Why it was revoked, if anybody said."""

    def has_expired(self, at: str) -> bool:
        """Return whether its last day is over at a time (UTC, ISO 8601)."""
        return bool(self.expires) and at[: len(self.expires)] > self.expires

    def holds(self, at: str) -> bool:
        """Return whether it is neither revoked nor expired."""
        return self.revoked_at is None and not self.has_expired(at)


PictureOf = Callable[[KeyEntry], str]
"""The entry that is about to be written, its picture still empty, to the digest of the picture that is handed out."""

Revoked = tuple[tuple[KeyEntry, ...], tuple[int, ...]]
"""What is revoked now, and the serials of what was revoked before."""


def keys_in(journal: Journal, claim: str | None = None) -> tuple[KeyEntry, ...]:
    """Return all key images that were handed out, of one claim or of all, in order, with their revocations."""
    revoked: dict[str, Row] = {}
    for row in journal.rows(Kind.KEY_REVOKED, reference=claim):
        revoked.setdefault(row.subject, row)
    return tuple(_entries(journal.rows(Kind.KEY_ISSUED, reference=claim), revoked))


def issue_key(journal: Journal, request: KeyRequest, picture_of: PictureOf, at: str) -> KeyEntry:
    """Record a key image, or return the one that the recipient holds with this end.

    Raises:
        UsageError: the name is refused, the end is past, or all pictures of the claim are used up.
    """
    name = canonical_name(request.recipient)
    entries = keys_in(journal)
    own = [entry for entry in entries if entry.claim == request.claim]
    for entry in own:
        if (entry.recipient, entry.expires) == (name, request.expires) and entry.holds(at):
            return entry
    if request.expires and at[: len(request.expires)] > request.expires:
        raise UsageError(f"{request.expires} is over (UTC); choose a day to come for --expires")
    left = set(range(request.covers)) - {entry.cover for entry in own}
    if not left:
        raise UsageError(
            f"all {request.covers} key images of this claim are handed out, and none is used twice; "
            "mark with a larger --pool"
        )
    cover, serial = min(left), max((entry.serial for entry in entries), default=0) + 1
    entry = KeyEntry(request.reference, request.claim, name, serial, cover, request.expires, "", at)
    return _append(journal, replace(entry, picture=picture_of(entry)))


def revoke_keys(journal: Journal, serials: Sequence[int], recipient: str, reason: str, at: str) -> Revoked:
    """Revoke the key images of some serials, or all that a recipient holds; what is revoked already stays as it is.

    Returns:
        Their entries, and the serials of those that were revoked already.

    Raises:
        UsageError: a serial was never handed out, or the recipient was handed none; nothing is revoked then.
    """
    entries = {entry.serial: entry for entry in keys_in(journal)}
    if recipient:
        name = canonical_name(recipient)
        serials = [entry.serial for entry in entries.values() if entry.recipient == name]
        if not serials:
            raise UsageError(f"{name} was never handed a key image; see `onnxfp keys list`")
    if unknown := [serial for serial in serials if serial not in entries]:
        raise UsageError(f"no key image has serial {unknown[0]}; see `onnxfp keys list`")
    before = tuple(serial for serial in sorted(set(serials)) if entries[serial].revoked_at is not None)
    for serial in dict.fromkeys(serials):
        if serial not in before:
            content = (Kind.KEY_REVOKED, entries[serial].claim, str(serial), canonical_json({"reason": reason}))
            journal.append(content, at)
    return tuple(entry for entry in keys_in(journal) if entry.serial in set(serials)), before


def _append(journal: Journal, entry: KeyEntry) -> KeyEntry:
    payload = {
        "reference": entry.reference,
        "serial": entry.serial,
        "cover": entry.cover,
        "expires": entry.expires,
        "picture": entry.picture,
    }
    row = journal.append((Kind.KEY_ISSUED, entry.claim, entry.recipient, canonical_json(payload)), entry.issued_at)
    return _entry(row, None)


def _entries(issued: Iterator[Row], revoked: dict[str, Row]) -> Iterator[KeyEntry]:
    for row in issued:
        yield _entry(row, revoked.get(str(json.loads(row.payload)["serial"])))


def _entry(row: Row, revoked: Row | None) -> KeyEntry:
    facts = json.loads(row.payload)
    ended = {} if revoked is None else {"revoked_at": revoked.time, "reason": json.loads(revoked.payload)["reason"]}
    return KeyEntry(claim=row.reference, recipient=row.subject, issued_at=row.time, **facts, **ended)

"""What a ledger remembers: the rows as they are stored, and the entries that are read out of them."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Kind(enum.StrEnum):
    """What a row records."""

    CREATED = "created"
    REFERENCE = "reference"
    RESERVED = "reserved"
    ISSUED = "issued"
    LOOK = "look"
    COMMITTED = "committed"
    DRAWN = "drawn"
    SPENT = "spent"
    KEY_ISSUED = "key_issued"
    KEY_REVOKED = "key_revoked"


class Row(NamedTuple):  # a tuple, since a ledger is read back by the hundred thousand
    """One row; its fields are the columns, in their order."""

    seq: int
    """1 for the first row, and one more for each that follows."""
    kind: str
    reference: str
    """Identifier of the reference concerned, or nothing."""
    subject: str
    """The recipient or the digest concerned, or nothing."""
    payload: str
    """Canonical JSON."""
    time: str
    """UTC, ISO 8601."""
    previous: str
    """The mac of the row before."""
    mac: str
    """HMAC-SHA256 of all other fields, hexadecimal."""


@dataclass(frozen=True)
class ReferenceEntry:
    """A registered reference."""

    reference: str
    """Its identifier, unique in the ledger."""
    digest: str
    path: str | None
    """Where the vault keeps it, or None when it was not kept."""
    commitment: str
    """Hexadecimal."""
    payload: Mapping[str, Any]
    """What else must be known of it (profile, options, sketch); JSON."""
    registered_at: str

    def document(self) -> str:
        """Return all that is registered except when, as canonical JSON."""
        return canonical_json(
            {"digest": self.digest, "path": self.path, "commitment": self.commitment, "payload": dict(self.payload)}
        )

    @classmethod
    def of_row(cls, row: Row) -> ReferenceEntry:
        """Return the entry that a row records."""
        return cls(reference=row.reference, registered_at=row.time, **json.loads(row.payload))


@dataclass(frozen=True)
class IssueEntry:
    """One recipient's copy of one reference: reserved, and perhaps issued."""

    reference: str
    recipient: str
    reserved_at: str
    artifact: str | None
    """Digest of the copy, or None while it is only reserved."""
    issued_at: str | None
    leaf: str = ""
    """Digest of the leaf that its word hangs on, and of all that is asked for it; empty for a word without one."""

    @classmethod
    def of_rows(cls, reserved: Row, issued: Row | None) -> IssueEntry:
        """Return the entry that a reservation and its completion record."""
        facts: dict[str, Any] = {"artifact": None} if issued is None else json.loads(issued.payload)
        return cls(
            reference=reserved.reference,
            recipient=reserved.subject,
            reserved_at=reserved.time,
            artifact=facts["artifact"],
            issued_at=None if issued is None else issued.time,
            leaf=facts.get("leaf", ""),
        )


@dataclass(frozen=True)
class CommitmentEntry:
    """A claim that was committed to before its symbols were drawn."""

    commitment: str
    """Hexadecimal; what the claim is called ever after."""
    reference: str
    """Digest of the artifact that is to be marked."""
    payload: Mapping[str, Any]
    """What the symbols are to be drawn for; JSON."""
    committed_at: str

    @classmethod
    def of_row(cls, row: Row) -> CommitmentEntry:
        """Return the entry that a row records."""
        return cls(row.subject, row.reference, json.loads(row.payload), row.time)


@dataclass(frozen=True)
class DrawnEntry:
    """Symbols that were drawn for a committed claim, whether or not an artifact ever bore them."""

    commitment: str
    beacon: str
    """The public value that they depend on besides; empty for none."""
    drawn_at: str

    @classmethod
    def of_row(cls, row: Row) -> DrawnEntry:
        """Return the entry that a row records."""
        return cls(row.reference, row.subject, row.time)


def canonical_json(value: Mapping[str, Any]) -> str:
    """Return the one JSON text of a value: sorted names, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)

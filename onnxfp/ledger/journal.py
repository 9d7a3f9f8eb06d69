"""A transaction under the chain key: every row that comes out bears its seal, every row that goes in gets one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

from onnxfp.errors import TamperedError, UsageError
from onnxfp.ledger.chain import check_seal, next_row
from onnxfp.ledger.entries import IssueEntry, Kind, Row

if TYPE_CHECKING:
    from onnxfp.ledger.store import Transaction


@final
@dataclass(frozen=True)
class Journal:
    """The rows of a ledger at one moment, each checked when it is read."""

    transaction: Transaction
    chain_key: bytes = field(repr=False)

    def last(self) -> Row:
        """Return the newest row.

        Raises:
            TamperedError: it was altered, or there is none.
        """
        row = self.transaction.last()
        if row is None:
            raise TamperedError("the ledger has no rows left; restore it from a backup")
        return check_seal(self.chain_key, row)

    def find(self, kind: Kind, reference: str, subject: str = "") -> Row | None:
        """Return the oldest row of this kind about this reference and subject."""
        row = self.transaction.find(kind, reference, subject)
        return None if row is None else check_seal(self.chain_key, row)

    def rows(self, *kinds: Kind, reference: str | None = None, subject: str | None = None) -> Iterator[Row]:
        """Stream the rows of some kinds, oldest first."""
        for row in self.transaction.rows(*kinds, reference=reference, subject=subject):
            yield check_seal(self.chain_key, row)

    def append(self, content: tuple[Kind, str, str, str], at: str) -> Row:
        """Write one more row: kind, reference, subject and payload."""
        row = next_row(self.chain_key, self.last(), content, at)
        self.transaction.append(row)
        return row

    def registered(self, reference: str) -> Row:
        """Return the row that registered a reference.

        Raises:
            UsageError: there is none.
        """
        row = self.find(Kind.REFERENCE, reference)
        if row is None:
            raise UsageError(f"reference {reference} is not registered; register it first")
        return row

    def committed(self, commitment: str) -> Row | None:
        """Return the row that recorded a commitment, whatever it is about."""
        rows = tuple(self.rows(Kind.COMMITTED, subject=commitment))
        return rows[0] if rows else None

    def issue(self, reference: str, recipient: str) -> IssueEntry | None:
        """Return what is recorded of one recipient's copy."""
        reserved = self.find(Kind.RESERVED, reference, recipient)
        if reserved is None:
            return None
        return IssueEntry.of_rows(reserved, self.find(Kind.ISSUED, reference, recipient))

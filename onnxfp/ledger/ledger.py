"""The ledger: references, reservations, issues and looks, all of it read out of one chain of rows.

A copy is *reserved* before it exists and *issued* once it does, so that no copy is ever without its row: whoever was
reserved counts among the recipients. Every row that is read must bear its seal; that none is missing or out of place
is seen by `verify` alone, so a judgement starts with it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, final

from onnxfp.errors import TamperedError, UsageError, VaultError
from onnxfp.keys.recipient import canonical_name
from onnxfp.ledger.chain import check_chain, format_head, parse_head
from onnxfp.ledger.entries import CommitmentEntry, DrawnEntry, IssueEntry, Kind, ReferenceEntry, Row, canonical_json
from onnxfp.ledger.holders import KeyEntry, KeyRequest, PictureOf, Revoked, issue_key, keys_in, revoke_keys
from onnxfp.ledger.journal import Journal

if TYPE_CHECKING:
    from onnxfp.ledger.store import Store


@final
@dataclass(frozen=True)
class Ledger:
    """An open ledger. Every writing method is durable when it returns; threads and processes may write at once."""

    store: Store
    chain_key: bytes = field(repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the ledger must not be used afterwards."""
        self.store.close()

    def register(self, entry: ReferenceEntry) -> ReferenceEntry:
        """Record a reference; recording the same one again changes nothing.

        Args:
            entry: the reference, with the time of its registration.

        Returns:
            What the ledger holds: the entry of the first registration.

        Raises:
            UsageError: the identifier stands for another reference.
        """
        document = entry.document()
        with self._writing() as journal:
            row = journal.find(Kind.REFERENCE, entry.reference)
            if row is None:
                content = (Kind.REFERENCE, entry.reference, "", document)
                row = journal.append(content, entry.registered_at)
        if row.payload != document:
            raise UsageError(
                f"reference {entry.reference} is registered already, with other contents; what was registered stays"
            )
        return ReferenceEntry.of_row(row)

    def references(self) -> tuple[ReferenceEntry, ...]:
        """Return all references, in order of registration."""
        with self._reading() as journal:
            return tuple(ReferenceEntry.of_row(row) for row in journal.rows(Kind.REFERENCE))

    def reference(self, reference_id: str) -> ReferenceEntry:
        """Return one reference.

        Raises:
            UsageError: it is not registered.
        """
        with self._reading() as journal:
            return ReferenceEntry.of_row(journal.registered(reference_id))

    def reserve(self, reference_id: str, recipient: str, at: str) -> IssueEntry:
        """Record that a recipient is about to get a copy; nothing is written when that is recorded already.

        Args:
            reference_id: a registered reference.
            recipient: a name in any spelling; its canonical one is recorded.
            at: UTC, ISO 8601.

        Raises:
            UsageError: the reference is not registered, or the name is refused.
        """
        name = canonical_name(recipient)
        with self._reading() as journal:
            entry = journal.issue(reference_id, name)
        if entry is not None:
            return entry
        with self._writing() as journal:
            journal.registered(reference_id)
            entry = journal.issue(reference_id, name)  # perhaps reserved by another process just now
            if entry is None:
                row = journal.append((Kind.RESERVED, reference_id, name, "{}"), at)
                entry = IssueEntry.of_rows(row, None)
        return entry

    def complete(self, reference_id: str, recipient: str, artifact_digest: str, at: str, leaf: str = "") -> str:
        """Record that the reserved copy exists; nothing is written when that is recorded already.

        Args:
            reference_id: a registered reference.
            recipient: a name in any spelling.
            artifact_digest: of the copy.
            at: UTC, ISO 8601.
            leaf: digest of the leaf that the copy's word hangs on; empty for a word without one.

        Returns:
            The head to note outside the ledger.

        Raises:
            VaultError: no copy is reserved for the recipient.
            UsageError: the recipient holds a copy with another digest, or with the word of another leaf.
        """
        name = canonical_name(recipient)
        with self._writing() as journal:
            entry = journal.issue(reference_id, name)
            if entry is None:
                raise VaultError(f"no copy of {reference_id} is reserved for {name}; issue it again")
            if entry.artifact not in (None, artifact_digest):
                raise UsageError(f"{name} was issued other bytes of {reference_id}; one recipient gets one copy")
            if entry.artifact is not None and entry.leaf not in ("", leaf):
                raise UsageError(f"{name} was issued a copy of {reference_id} under another leaf; use that release")
            if entry.artifact is None:
                payload = canonical_json({"artifact": artifact_digest, **({"leaf": leaf} if leaf else {})})
                return format_head(journal.append((Kind.ISSUED, reference_id, name, payload), at))
            return format_head(journal.last())

    def issues(self, reference_id: str | None = None) -> tuple[IssueEntry, ...]:
        """Return every reservation, of one reference or of all, in order, with its completion."""
        reserved: dict[tuple[str, str], Row] = {}
        issued: dict[tuple[str, str], Row] = {}
        with self._reading() as journal:
            for row in journal.rows(Kind.RESERVED, Kind.ISSUED, reference=reference_id):
                rows = reserved if row.kind == Kind.RESERVED else issued
                rows.setdefault((row.reference, row.subject), row)
        return tuple(IssueEntry.of_rows(row, issued.get(key)) for key, row in reserved.items())

    def recipients(self, reference_id: str | None = None) -> tuple[str, ...]:
        """Return everybody for whom a copy was ever reserved, each once, in order of the first reservation."""
        with self._reading() as journal:
            rows = journal.rows(Kind.RESERVED, reference=reference_id)
            return tuple(dict.fromkeys(row.subject for row in rows))

    def count_recipients(self, besides: str = "") -> int:
        """Return how many recipients there are, one name left out; quick, but only `verify` proves none is missing."""
        with self._reading() as journal:
            return journal.transaction.count_subjects(Kind.RESERVED, besides)

    def record_look(self, suspect_digest: str, settings: str, at: str) -> int:
        """Log a look at a suspect, and count the settings that had been tried on it before these.

        Args:
            suspect_digest: which suspect.
            settings: everything that was chosen for this look, in one canonical text.
            at: UTC, ISO 8601.

        Returns:
            How many distinct other settings were tried on this suspect before these were first tried: alpha is to be
            halved as often, and a repeated look keeps the alpha that it had.
        """
        with self._writing() as journal:
            looks = journal.rows(Kind.LOOK, reference="", subject=suspect_digest)
            tried = list(dict.fromkeys(row.payload for row in looks))
            payload = canonical_json({"settings": settings})
            journal.append((Kind.LOOK, "", suspect_digest, payload), at)
        return tried.index(payload) if payload in tried else len(tried)

    def commit(self, entry: CommitmentEntry) -> CommitmentEntry:
        """Record a commitment; recording the same one again changes nothing.

        Returns:
            What the ledger holds: the entry of the first time.

        Raises:
            UsageError: the commitment stands for something else.
        """
        payload = canonical_json(entry.payload)
        with self._writing() as journal:
            row = journal.committed(entry.commitment)
            if row is None:
                content = (Kind.COMMITTED, entry.reference, entry.commitment, payload)
                row = journal.append(content, entry.committed_at)
        if (row.reference, row.payload) != (entry.reference, payload):
            raise UsageError(f"commitment {entry.commitment} is in the ledger already, for something else")
        return CommitmentEntry.of_row(row)

    def commitments(self) -> tuple[CommitmentEntry, ...]:
        """Return all commitments, in order."""
        with self._reading() as journal:
            return tuple(CommitmentEntry.of_row(row) for row in journal.rows(Kind.COMMITTED))

    def draw(self, commitment: str, beacon: str, at: str) -> DrawnEntry:
        """Record that the symbols of a commitment are drawn; every draw counts, also one that is never used.

        Raises:
            UsageError: nobody committed to it.
        """
        with self._writing() as journal:
            if journal.committed(commitment) is None:
                raise UsageError(f"commitment {commitment} is not in the ledger; commit before symbols are drawn")
            row = journal.find(Kind.DRAWN, commitment, beacon)
            if row is None:
                row = journal.append((Kind.DRAWN, commitment, beacon, "{}"), at)
        return DrawnEntry.of_row(row)

    def drawn(self) -> tuple[DrawnEntry, ...]:
        """Return all draws, in order."""
        with self._reading() as journal:
            return tuple(DrawnEntry.of_row(row) for row in journal.rows(Kind.DRAWN))

    def spend(self, claim: str, where: str, positions: Sequence[int], at: str) -> None:
        """Record that the triggers of some positions are about to be seen somewhere."""
        with self._writing() as journal:
            journal.append((Kind.SPENT, claim, where, canonical_json({"positions": list(positions)})), at)

    def spent(self, claim: str, *places: str) -> frozenset[int]:
        """Return the positions of a claim whose triggers were seen in one of some places."""
        with self._reading() as journal:
            rows = (row for where in places for row in journal.rows(Kind.SPENT, reference=claim, subject=where))
            return frozenset(position for row in rows for position in json.loads(row.payload)["positions"])

    def issue_key(self, request: KeyRequest, picture_of: PictureOf, at: str) -> KeyEntry:
        """Record that a recipient is handed a key image; who holds one with the same end keeps it, unwritten.

        Cover and serial are taken in the transaction that writes them, so that nobody else gets the same.

        Args:
            request: who, of which claim, until when.
            picture_of: makes the picture of the entry to come, and returns the digest of its pixels.
            at: UTC, ISO 8601.

        Raises:
            UsageError: the name is refused, the end is past, or all pictures of the claim are used up.
        """
        with self._writing() as journal:
            return issue_key(journal, request, picture_of, at)

    def revoke_keys(self, at: str, serials: Sequence[int] = (), recipient: str = "", reason: str = "") -> Revoked:
        """Revoke the key images of some serials, or all of a recipient's; again changes nothing.

        Returns:
            Their entries, and the serials of those that were revoked already.

        Raises:
            UsageError: a serial was never handed out, or the recipient was handed none; nothing is revoked then.
        """
        with self._writing() as journal:
            return revoke_keys(journal, serials, recipient, reason, at)

    def issued_keys(self, claim: str | None = None) -> tuple[KeyEntry, ...]:
        """Return all key images that were handed out, of one claim or of all, in order."""
        with self._reading() as journal:
            return keys_in(journal, claim)

    def count_looks(self, suspect_digest: str) -> int:
        """Return how often a suspect was looked at."""
        with self._reading() as journal:
            return sum(1 for _ in journal.rows(Kind.LOOK, reference="", subject=suspect_digest))

    def head(self) -> str:
        """Return what identifies the ledger up to now: number and mac of its last row."""
        with self._reading() as journal:
            return format_head(journal.last())

    def verify(self, expected_head: str | None = None) -> int:
        """Prove that the chain is whole.

        Args:
            expected_head: a head noted earlier, which must stand somewhere in the chain; the ledger may have grown.

        Returns:
            The number of rows.

        Raises:
            TamperedError: a row was altered, inserted, removed or moved, or the tail was cut off.
            UsageError: the expected head is not a head.
        """
        from onnxfp.ledger.schema import check_integrity

        expected = None if expected_head is None else parse_head(expected_head)
        rows, found = 0, expected is None
        with self.store.reading() as transaction:
            check_integrity(transaction.connection, self.store.path)
            for row in check_chain(self.chain_key, transaction.rows()):
                rows, found = row.seq, found or (row.seq, row.mac) == expected
        if not rows or not found:
            raise TamperedError(f"the ledger was cut: it has {rows} rows, without the expected head; restore a backup")
        return rows

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Journal]:
        with self.store.reading() as transaction:
            yield Journal(transaction, self.chain_key)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Journal]:
        with self.store.writing() as transaction:
            yield Journal(transaction, self.chain_key)

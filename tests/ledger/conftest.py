"""Ledgers to look at: one in use, and the bytes of a small one that holds every kind of row."""

from __future__ import annotations

import pytest

from onnxfp.ledger import CommitmentEntry, KeyRequest, ReferenceEntry, create_ledger, open_ledger

KEY = bytes(range(32))
AT = "2026-01-02T03:04:05Z"


def reference_entry(reference: str = "r1", **changes: object) -> ReferenceEntry:
    """Return a reference to register."""
    fields = {"digest": "ab" * 32, "path": f"references/{reference}.onnx", "commitment": "cd" * 32}
    fields |= {"payload": {"sketch": [1, -1], "options": {"strength": 0.1}}, "registered_at": AT}
    return ReferenceEntry(reference=reference, **{**fields, **changes})


def commitment_entry(commitment: str = "c1", **changes: object) -> CommitmentEntry:
    """Return a commitment to record."""
    fields = {"reference": "ab" * 32, "payload": {"scheme": "zhang", "options": {"each": 1}}, "committed_at": AT}
    return CommitmentEntry(commitment=commitment, **{**fields, **changes})


@pytest.fixture
def path(tmp_path):
    """Where a ledger may be created."""
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path):
    """An open ledger with one registered reference."""
    with create_ledger(path, KEY) as created:
        created.register(reference_entry())
        yield created


@pytest.fixture(scope="session")
def small_ledger(tmp_path_factory):
    """Bytes and head of a closed ledger of fourteen rows."""
    path = tmp_path_factory.mktemp("small") / "ledger.db"
    with create_ledger(path, KEY) as ledger:
        for reference in ("r1", "r2"):
            ledger.register(reference_entry(reference))
        for recipient in ("Acme", "Bolt"):
            ledger.reserve("r1", recipient, AT)
            ledger.complete("r1", recipient, "ef" * 32, AT)
        ledger.record_look("12" * 32, "default", AT)
        ledger.reserve("r2", "Acme", AT)
        ledger.commit(commitment_entry())
        ledger.draw("c1", "a beacon", AT)
        ledger.spend("zhang:c1", "somewhere", [0, 1], AT)
        ledger.issue_key(KeyRequest("r1", "extra_class:c1", "Acme", "", 4), lambda entry: "ab" * 32, AT)
        ledger.revoke_keys(AT, [1], reason="lost")
        head = ledger.head()
    return path.read_bytes(), head


def judge(path, expected_head=None):
    """Open and verify the ledger at `path`."""
    with open_ledger(path, KEY) as ledger:
        return ledger.verify(expected_head)

"""What a ledger remembers, counts and refuses while nobody harms it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from onnxfp.errors import TamperedError, UsageError, VaultError
from onnxfp.ledger import IssueEntry, create_ledger, open_ledger
from onnxfp.ledger.entries import Kind
from tests.ledger.conftest import AT, KEY, reference_entry

LATER = "2026-05-06T07:08:09.123456+00:00"


def test_created_ledger_is_private_whole_and_alone_in_its_folder(path):
    before = os.umask(0)
    try:
        create_ledger(path, KEY).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["ledger.db"]


def test_files_beside_an_open_ledger_are_private_too(ledger, path):
    names = sorted(os.listdir(path.parent))
    assert names == ["ledger.db", "ledger.db-shm", "ledger.db-wal"]
    assert {stat.S_IMODE((path.parent / name).stat().st_mode) for name in names} == {0o600}


def test_fresh_ledger_has_one_row_and_verifies(path):
    with create_ledger(path, KEY) as ledger:
        assert ledger.verify() == 1
        assert ledger.verify(ledger.head()) == 1
        assert (ledger.references(), ledger.issues(), ledger.recipients()) == ((), (), ())


def test_existing_file_is_never_overwritten(ledger, path):
    with pytest.raises(VaultError, match="never overwritten"):
        create_ledger(path, KEY)
    assert ledger.verify() == 2


def test_repr_of_a_ledger_does_not_show_its_key(ledger):
    assert KEY.hex() not in repr(ledger)
    assert repr(KEY) not in repr(ledger)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_chain_key_of_a_wrong_length_is_a_mistake_of_the_programmer(path, length):
    with pytest.raises(ValueError, match="32 bytes"):
        create_ledger(path, bytes(length))
    assert not path.exists()


def test_registered_reference_is_read_back(ledger):
    assert ledger.reference("r1") == reference_entry()
    assert ledger.references() == (reference_entry(),)


def test_reference_that_was_not_kept_has_no_path(ledger):
    ledger.register(reference_entry("r2", path=None))
    assert ledger.reference("r2").path is None


def test_registering_again_later_changes_nothing(ledger):
    head = ledger.head()
    assert ledger.register(reference_entry(registered_at=LATER)) == reference_entry()
    assert ledger.head() == head


@pytest.mark.parametrize("change", [{"digest": "00"}, {"commitment": "00"}, {"payload": {}}, {"path": None}])
def test_identifier_never_stands_for_two_references(ledger, change):
    with pytest.raises(UsageError, match="registered already, with other contents"):
        ledger.register(reference_entry(**change))
    assert ledger.references() == (reference_entry(),)


def test_unregistered_reference_is_refused(ledger):
    with pytest.raises(UsageError, match="reference r9 is not registered; register it first"):
        ledger.reference("r9")
    with pytest.raises(UsageError, match="not registered"):
        ledger.reserve("r9", "Acme", AT)


def test_reserved_copy_is_an_issue_without_artifact(ledger):
    entry = ledger.reserve("r1", "Acme", AT)
    assert entry == IssueEntry("r1", "Acme", AT, None, None)
    assert ledger.issues() == (entry,)


def test_reserving_again_returns_the_first_row_without_writing(ledger):
    entry = ledger.reserve("r1", "Acme", AT)
    head = ledger.head()
    assert ledger.reserve("r1", "  Acme\u00a0", LATER) == entry
    assert ledger.head() == head


def test_completed_copy_keeps_its_reservation(ledger):
    ledger.reserve("r1", "Acme", AT)
    ledger.complete("r1", "Acme", "ef", LATER)
    entry = IssueEntry("r1", "Acme", AT, "ef", LATER)
    assert ledger.issues("r1") == (entry,)
    assert ledger.reserve("r1", "Acme", LATER) == entry


def test_completing_returns_the_head_and_repeating_it_writes_nothing(ledger):
    ledger.reserve("r1", "Acme", AT)
    head = ledger.complete("r1", "Acme", "ef", AT)
    assert re.fullmatch("4:[0-9a-f]{64}", head)
    assert ledger.head() == head == ledger.complete("r1", "Acme", "ef", LATER)


def payloads(ledger, kind) -> list[str]:
    with ledger.store.reading() as transaction:
        return [row.payload for row in transaction.rows(kind)]


def test_the_leaf_of_a_copy_stands_in_its_row_and_a_row_without_one_is_as_ever(ledger):
    for name, leaf in (("Acme", ""), ("Bolt", "cd" * 32)):
        ledger.reserve("r1", name, AT)
        ledger.complete("r1", name, "ef", AT, leaf)
    assert payloads(ledger, Kind.ISSUED) == ['{"artifact":"ef"}', f'{{"artifact":"ef","leaf":"{"cd" * 32}"}}']
    assert [entry.leaf for entry in ledger.issues()] == ["", "cd" * 32]
    assert ledger.reserve("r1", "Bolt", LATER).leaf == "cd" * 32


def test_a_recipient_keeps_the_leaf_that_was_recorded(ledger):
    ledger.reserve("r1", "Acme", AT)
    head = ledger.complete("r1", "Acme", "ef", AT, "cd" * 32)
    assert ledger.complete("r1", "Acme", "ef", LATER, "cd" * 32) == head
    for other in ("", "ab" * 32):
        with pytest.raises(UsageError, match="under another leaf"):
            ledger.complete("r1", "Acme", "ef", LATER, other)
    assert ledger.head() == head


def test_a_copy_that_was_issued_without_a_leaf_stays_so(ledger):
    ledger.reserve("r1", "Acme", AT)
    head = ledger.complete("r1", "Acme", "ef", AT)
    assert ledger.complete("r1", "Acme", "ef", LATER, "cd" * 32) == head
    assert ledger.issues()[0].leaf == ""


def test_one_recipient_never_gets_two_different_copies(ledger):
    ledger.reserve("r1", "Acme", AT)
    ledger.complete("r1", "Acme", "ef", AT)
    with pytest.raises(UsageError, match="one recipient gets one copy"):
        ledger.complete("r1", "Acme", "00", AT)


def test_copy_cannot_be_completed_before_it_is_reserved(ledger):
    with pytest.raises(VaultError, match="no copy of r1 is reserved for Acme"):
        ledger.complete("r1", "Acme", "ef", AT)
    assert ledger.issues() == ()


def test_recipients_are_distinct_in_order_of_first_reservation_and_count_when_only_reserved(ledger):
    ledger.register(reference_entry("r2"))
    for reference, recipient in [("r1", "Zeta"), ("r2", "Acme"), ("r2", "Zeta"), ("r1", "Bolt"), ("r1", "Acme")]:
        ledger.reserve(reference, recipient, AT)
    ledger.complete("r1", "Bolt", "ef", AT)
    assert ledger.recipients() == ("Zeta", "Acme", "Bolt")
    assert ledger.recipients("r1") == ("Zeta", "Bolt", "Acme")
    assert ledger.recipients("r2") == ("Acme", "Zeta")
    assert ledger.recipients("r9") == ()
    assert ledger.count_recipients() == 3
    assert ledger.count_recipients(besides="Acme") == 2
    assert ledger.count_recipients(besides="Nobody") == 3
    assert [(entry.reference, entry.recipient) for entry in ledger.issues("r2")] == [("r2", "Acme"), ("r2", "Zeta")]


def test_refused_name_writes_nothing(ledger):
    head = ledger.head()
    for name in ("", "a\nb", "x" * 10_000):
        with pytest.raises(UsageError):
            ledger.reserve("r1", name, AT)
    assert ledger.head() == head


def test_text_that_is_not_unicode_is_refused_in_one_line(ledger):
    with pytest.raises(UsageError, match="Unicode text only"):
        ledger.reference("\udc80")
    with pytest.raises(UsageError, match="Unicode text only"):
        ledger.record_look("\udc80", "default", AT)
    assert ledger.verify() == 2


def test_looks_count_the_other_settings_tried_before(ledger):
    looks = [ledger.record_look("suspect", settings, AT) for settings in ["a", "b", "a", "c", "c", "b", "d"]]
    assert looks == [0, 1, 0, 2, 2, 1, 3]


def test_every_look_is_logged_and_suspects_do_not_share_them(ledger):
    assert [ledger.record_look(digest, "a", AT) for digest in ["s1", "s2", "s1"]] == [0, 0, 0]
    assert ledger.record_look("s2", "b", AT) == 1
    assert ledger.verify() == 6


@pytest.mark.parametrize("at", ["", "today", "2026-01-02", "2026-01-02T03:04:05", "2026-01-02T03:04:05+02:00"])
def test_time_that_is_not_utc_is_a_mistake_of_the_programmer(ledger, at):
    with pytest.raises(ValueError, match="ISO 8601 in UTC"):
        ledger.reserve("r1", "Acme", at)
    assert ledger.recipients() == ()


def test_payload_that_is_not_json_is_a_mistake_of_the_programmer(ledger):
    with pytest.raises(ValueError, match="JSON compliant"):
        ledger.register(replace(reference_entry("r2"), payload={"strength": float("nan")}))


def test_reopened_ledger_goes_on_where_it_ended(ledger, path):
    ledger.reserve("r1", "Acme", AT)
    head = ledger.head()
    ledger.close()
    with open_ledger(path, KEY) as reopened:
        assert reopened.head() == head
        reopened.reserve("r1", "Bolt", AT)
        assert reopened.verify(head) == 4


def test_old_head_stays_good_while_the_ledger_grows(ledger):
    heads = [ledger.head()]
    for number in range(5):
        ledger.reserve("r1", f"Recipient {number}", AT)
        heads.append(ledger.head())
    assert [ledger.verify(head) for head in heads] == [7] * 6
    assert ledger.verify(f" {heads[0]}\n") == 7


def test_head_of_another_ledger_is_not_found(ledger, tmp_path):
    with create_ledger(tmp_path / "other.db", KEY) as other:
        other.register(reference_entry("r2"))
        head = other.head()
    with pytest.raises(TamperedError, match="without the expected head"):
        ledger.verify(head)


@pytest.mark.parametrize("head", ["", "2", "2:", "x" * 64, "0:" + "0" * 64, "2:" + "g" * 64, "9" * 30 + ":" + "0" * 64])
def test_head_that_is_none_is_refused(ledger, head):
    with pytest.raises(UsageError, match="not of the form"):
        ledger.verify(head)


def test_path_with_odd_characters_is_the_same_file(tmp_path):
    path = tmp_path / "a?b#c %41é.db"
    create_ledger(path, KEY).close()
    with open_ledger(path, KEY) as ledger:
        assert ledger.verify() == 1
    assert os.listdir(tmp_path) == [path.name]


def test_thousands_of_recipients_stay_in_order(ledger):
    """More rows than are fetched at once."""
    from onnxfp.ledger.chain import next_row
    from onnxfp.ledger.entries import Kind

    names = [f"Recipient {number:04d}" for number in range(2500)]
    with ledger.store.writing() as transaction:
        last = transaction.last()
        for name in names:
            last = next_row(KEY, last, (Kind.RESERVED, "r1", name, "{}"), AT)
            transaction.append(last)
    assert ledger.recipients("r1") == tuple(names)
    assert ledger.verify() == 2502


@pytest.mark.parametrize("heavy", ["sqlalchemy", "cryptography"])
def test_importing_the_room_loads_nothing_heavy(heavy):
    code = f"import sys, onnxfp.ledger; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_that_test_can_fail():
    code = "import sys, onnxfp.ledger.store; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1

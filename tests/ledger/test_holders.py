"""Key images: each cover and each serial once, whoever asks and however many at a time; revoked is revoked."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
from dataclasses import replace

import pytest

from onnxfp.errors import UsageError
from onnxfp.ledger import KeyEntry, KeyRequest, open_ledger
from tests.ledger.conftest import AT, KEY

LATER = "2026-05-06T07:08:09.123456+00:00"
CLAIM = "extra_class:" + "ab" * 32


def digest(entry: KeyEntry) -> str:
    return f"picture {entry.cover} {entry.serial}"


def issue(ledger, recipient, *, claim=CLAIM, expires="", covers=4, at=AT) -> KeyEntry:
    return ledger.issue_key(KeyRequest("r1", claim, recipient, expires, covers), digest, at)


def test_a_key_is_read_back(ledger):
    entry = issue(ledger, "  Acme\u00a0GmbH ", expires="2026-12-31")
    assert entry == KeyEntry("r1", CLAIM, "Acme GmbH", 1, 0, "2026-12-31", "picture 0 1", AT)
    assert ledger.issued_keys() == ledger.issued_keys(CLAIM) == (entry,)
    assert ledger.issued_keys("another") == ()


def test_the_same_recipient_and_end_keep_their_key_without_a_row(ledger):
    first = issue(ledger, "Acme", expires="2026-12-31")
    head = ledger.head()
    assert issue(ledger, "Acme", expires="2026-12-31", at=LATER) == first
    assert ledger.head() == head


def test_another_end_is_another_key_and_the_first_one_holds_on(ledger):
    first, second = issue(ledger, "Acme"), issue(ledger, "Acme", expires="2026-12-31")
    assert (second.serial, second.cover) == (2, 1)
    assert issue(ledger, "Acme") == first


def test_serials_are_of_the_ledger_and_covers_of_their_claim(ledger):
    issue(ledger, "Acme")
    other = issue(ledger, "Acme", claim="extra_class:other")
    assert (other.serial, other.cover) == (2, 0)
    assert (issue(ledger, "Beta").serial, issue(ledger, "Beta").cover) == (3, 1)


def test_covers_are_used_up_once_also_by_what_was_revoked(ledger):
    for name in ("Acme", "Beta"):
        issue(ledger, name, covers=2)
    ledger.revoke_keys(AT, [1])
    head = ledger.head()
    with pytest.raises(UsageError, match=r"all 2 key images of this claim are handed out.*larger --pool"):
        issue(ledger, "Acme", covers=2)
    assert ledger.head() == head
    assert issue(ledger, "Acme", covers=3).cover == 2


def test_after_a_revocation_the_recipient_gets_a_new_serial_and_a_new_cover(ledger):
    issue(ledger, "Acme")
    (revoked,), before = ledger.revoke_keys(LATER, [1], reason="laptop stolen")
    assert before == ()
    assert (revoked.revoked_at, revoked.reason, revoked.holds(LATER)) == (LATER, "laptop stolen", False)
    again = issue(ledger, "Acme", at=LATER)
    assert (again.serial, again.cover, again.holds(LATER)) == (2, 1, True)
    assert ledger.issued_keys() == (revoked, again)


def test_a_key_holds_to_the_end_of_its_last_day_and_then_another_can_be_had(ledger):
    entry = issue(ledger, "Acme", expires="2026-05-05")
    assert entry.holds("2026-05-05T23:59:59Z")
    assert entry.has_expired("2026-05-06T00:00:00Z")
    with pytest.raises(UsageError, match="2026-05-05 is over"):
        issue(ledger, "Acme", expires="2026-05-05", at=LATER)
    assert issue(ledger, "Acme", expires="2026-05-06", at=LATER).serial == 2


def test_revoking_by_name_takes_all_keys_of_all_claims_and_nobody_elses(ledger):
    issue(ledger, "Acme")
    issue(ledger, "Acme", claim="extra_class:other")
    issue(ledger, "Beta")
    assert [entry.serial for entry in ledger.revoke_keys(AT, recipient=" Acme ")[0]] == [1, 2]
    assert [entry.revoked_at for entry in ledger.issued_keys()] == [AT, AT, None]


def test_revoking_again_keeps_the_first_day_and_writes_nothing(ledger):
    issue(ledger, "Acme")
    first, before = ledger.revoke_keys(AT, [1, 1], reason="a")
    assert before == ()
    head = ledger.head()
    assert ledger.revoke_keys(AT, [1, 1], reason="b") == (first, (1,))
    assert ledger.head() == head


def test_what_was_revoked_before_is_told_from_what_is_revoked_now(ledger):
    for name in ("Acme", "Beta"):
        issue(ledger, name)
    ledger.revoke_keys(AT, [2], reason="a")
    entries, before = ledger.revoke_keys(LATER, [2, 1], reason="b")
    assert [(entry.serial, entry.revoked_at, entry.reason) for entry in entries] == [(1, LATER, "b"), (2, AT, "a")]
    assert before == (2,)


def test_the_picture_is_made_of_the_entry_that_is_then_written(ledger):
    seen = []
    entry = ledger.issue_key(KeyRequest("r1", CLAIM, " Acme\u00a0GmbH ", "", 4), lambda e: seen.append(e) or "ab", AT)
    assert seen == [replace(entry, picture="")]
    assert (entry.recipient, entry.issued_at, entry.picture) == ("Acme GmbH", AT, "ab")


@pytest.mark.parametrize(("wanted", "message"), [({"serials": [1, 9]}, "serial 9"), ({"recipient": "Zeta"}, "Zeta")])
def test_who_revokes_what_was_never_handed_out_revokes_nothing(ledger, wanted, message):
    issue(ledger, "Acme")
    head = ledger.head()
    with pytest.raises(UsageError, match=message):
        ledger.revoke_keys(AT, **wanted)
    assert ledger.head() == head


def test_a_picture_that_cannot_be_made_takes_no_serial(ledger):
    def fail(entry):
        raise UsageError("no room")

    head = ledger.head()
    with pytest.raises(UsageError, match="no room"):
        ledger.issue_key(KeyRequest("r1", CLAIM, "Acme", "", 4), fail, AT)
    assert ledger.head() == head
    assert issue(ledger, "Beta").serial == 1


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 10_000])
def test_a_refused_name_writes_nothing(ledger, name):
    head = ledger.head()
    with pytest.raises(UsageError):
        issue(ledger, name)
    assert ledger.head() == head


def test_threads_never_share_a_cover_or_a_serial(ledger):
    names = [f"Recipient {number % 30}" for number in range(60)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(lambda name: issue(ledger, name, covers=30), names))
    assert len({entry.cover for entry in entries}) == len({entry.serial for entry in entries}) == 30
    assert len(ledger.issued_keys()) == 30
    ledger.verify()


ISSUE = """
import sys
from onnxfp.ledger import KeyRequest, open_ledger
with open_ledger(sys.argv[1], bytes(range(32))) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(12):
        request = KeyRequest("r1", "claim", f"{sys.argv[2]} {number}", "", 100)
        ledger.issue_key(request, lambda entry: "ab", "2026-01-02T03:04:05Z")
"""


def test_processes_never_share_a_cover_or_a_serial(ledger, path):
    command = [sys.executable, "-c", ISSUE, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, f"writer {number}"], **pipes) for number in range(3)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    entries = ledger.issued_keys("claim")
    assert sorted(entry.cover for entry in entries) == list(range(36))
    assert sorted(entry.serial for entry in entries) == list(range(1, 37))
    ledger.verify()


def test_a_revocation_is_on_the_disk_when_the_call_returns(ledger, path):
    issue(ledger, "Acme")
    code = "\n".join(
        [
            "import os, sys",
            "from onnxfp.ledger import open_ledger",
            f"ledger = open_ledger({str(path)!r}, bytes(range(32)))",
            f"ledger.revoke_keys({AT!r}, [1])",
            "os._exit(0)",
        ]
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with open_ledger(path, KEY) as reopened:
        assert reopened.issued_keys()[0].revoked_at == AT

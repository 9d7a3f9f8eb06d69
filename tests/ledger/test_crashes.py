"""Killed between any two writes, or written by many at once, a ledger stays whole and forgets nothing it confirmed."""

from __future__ import annotations

import concurrent.futures
import random
import subprocess
import sys
import time

import pytest

from onnxfp.ledger import create_ledger, open_ledger
from tests.ledger.conftest import AT, KEY, reference_entry

ISSUE = """
import sys
from onnxfp.ledger import open_ledger
path, prefix, own, shared = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
AT = "2026-01-02T03:04:05Z"
names = [f"{prefix} {number}" for number in range(own)] + [f"shared {number}" for number in range(shared)]
with open_ledger(path, bytes(range(32))) as ledger:
    print("ready", flush=True)
    if shared:
        sys.stdin.readline()
    for name in names:
        ledger.reserve("r1", name, AT)
        print("reserved", name, flush=True)
        print("issued", name, ledger.complete("r1", name, "ef", AT), sep="|", flush=True)
        ledger.record_look("suspect", name, AT)
"""


def start(path, prefix, own, shared=0):
    """Start a process that issues copies, and wait until it has opened the ledger."""
    command = [sys.executable, "-c", ISSUE, str(path), prefix, str(own), str(shared)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def confirmed(lines):
    """Return what a killed process had been promised: names reserved, names issued, and its last head."""
    whole = [line.strip() for line in lines if line.endswith("\n")]
    reserved = {line.removeprefix("reserved ") for line in whole if line.startswith("reserved ")}
    issued = [line.split("|") for line in whole if line.startswith("issued")]
    return reserved, {name for _, name, _ in issued}, issued[-1][2] if issued else None


@pytest.mark.parametrize("seed", range(5))
def test_killed_writers_leave_a_whole_ledger_with_all_that_was_confirmed(ledger, path, seed):
    source = random.Random(seed)
    for attempt in range(2):
        writers = [start(path, f"writer {attempt}.{number}", 100_000) for number in range(2)]
        for writer in writers:
            time.sleep(source.uniform(0.0, 0.08))
            writer.kill()
        for writer in writers:
            reserved, issued, head = confirmed(writer.communicate()[0].splitlines(keepends=True))
            with open_ledger(path, KEY) as reopened:
                reopened.verify(head)
                entries = {entry.recipient: entry for entry in reopened.issues()}
                assert reserved <= set(entries)
                assert all(entries[name].artifact == "ef" for name in issued)
                for name in entries:  # what was only reserved is completed by issuing again
                    reopened.complete("r1", name, "ef", AT)
    assert ledger.verify() > 2


def test_processes_that_issue_at_once_all_get_their_rows(ledger, path):
    writers = [start(path, f"writer {number}", own=25, shared=10) for number in range(4)]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    expected = {f"writer {writer} {number}" for writer in range(4) for number in range(25)}
    expected |= {f"shared {number}" for number in range(10)}
    assert set(ledger.recipients()) == expected
    assert len(ledger.issues()) == len(expected) == 110
    # one creation, one reference, a reservation and a completion per name, a look per loop
    assert ledger.verify() == 2 + 2 * 110 + 4 * 35


def test_threads_that_share_a_ledger_all_get_their_rows(ledger):
    names = [f"Recipient {number % 60}" for number in range(120)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(lambda name: ledger.reserve("r1", name, AT), names))
    assert [entry.recipient for entry in entries] == names
    assert len(ledger.recipients()) == 60
    assert ledger.verify() == 62


def test_reader_is_not_disturbed_by_a_writer(ledger):
    with ledger.store.reading() as snapshot:
        before = len(list(snapshot.rows()))
        ledger.reserve("r1", "Acme", AT)
        assert len(list(snapshot.rows())) == before
    assert ledger.recipients() == ("Acme",)


def append_and_interrupt(ledger):
    with ledger.store.writing() as transaction:
        transaction.append(transaction.last()._replace(seq=3))
        raise KeyboardInterrupt


def test_interrupted_transaction_leaves_no_row(ledger):
    head = ledger.head()
    with pytest.raises(KeyboardInterrupt):
        append_and_interrupt(ledger)
    assert ledger.head() == head
    assert ledger.reserve("r1", "Acme", AT).recipient == "Acme"


CREATE = """
import sys
from onnxfp.ledger import create_ledger
print("ready", flush=True)
for number in range(100000):
    create_ledger(f"{sys.argv[1]}/{number}.db", bytes(range(32))).close()
"""


def test_killed_creator_leaves_whole_ledgers_only(tmp_path):
    source = random.Random(7)
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        creator = subprocess.Popen([sys.executable, "-c", CREATE, folder], stdout=subprocess.PIPE)
        with creator:
            assert creator.stdout.readline() == b"ready\n"
            time.sleep(0.4 + source.uniform(0.0, 0.2))
            creator.kill()
        for path in folder.glob("[0-9]*.db"):
            with open_ledger(path, KEY) as ledger:
                assert ledger.verify() == 1


def test_processes_that_create_one_ledger_at_once_leave_one_winner(tmp_path):
    path = tmp_path / "ledger.db"

    def create(_):
        from onnxfp.errors import VaultError

        try:
            create_ledger(path, KEY).close()
        except VaultError:
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(create, range(12))) == 1
    with open_ledger(path, KEY) as ledger:
        ledger.register(reference_entry())
        assert ledger.verify() == 2

"""A file that is no ledger, or a folder that does not let us write: one line of our own, never the library's."""

from __future__ import annotations

import contextlib
import os
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from onnxfp.errors import TamperedError, VaultError
from onnxfp.ledger import create_ledger, open_ledger
from tests.ledger.conftest import AT, KEY, judge, reference_entry

LINE = re.compile(r"[^\n\r]{1,400}")


def refusal(path):
    """Return the one line with which the file at `path` is refused."""
    with pytest.raises(VaultError) as caught:
        judge(path)
    assert LINE.fullmatch(str(caught.value))
    return str(caught.value)


def database(*statements):
    """Return the bytes of some SQLite database."""
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.closing(sqlite3.connect(f"{folder}/x.db", isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
        return Path(f"{folder}/x.db").read_bytes()


APPLICATION = "PRAGMA application_id = 1869506160"
NO_LEDGER = {
    "empty": (b"", "is not a ledger"),
    "text": (b"recipient,copy\nAcme,1\n" * 100, "is not a ledger"),
    "one byte": (b"S", "is not a ledger"),
    "header alone": (b"SQLite format 3\0", "is not a ledger"),
    "zeros": (bytes(8192), "is not a ledger"),
    "another database": (database("CREATE TABLE t (x)"), "is not a ledger"),
    "version 0": (database(APPLICATION, "CREATE TABLE t (x)"), "version 0, not 1"),
    "version 2": (database(APPLICATION, "PRAGMA user_version = 2"), "version 2, not 1"),
    "version -1": (database(APPLICATION, "PRAGMA user_version = -1"), "version -1, not 1"),
    "no tables": (database(APPLICATION, "PRAGMA user_version = 1"), "tables or triggers"),
}


@pytest.mark.parametrize("defect", NO_LEDGER)
def test_file_that_is_no_ledger_is_refused_and_left_alone(path, defect):
    content, message = NO_LEDGER[defect]
    path.write_bytes(content)
    assert message in refusal(path)
    assert path.read_bytes() == content


def test_missing_file_is_refused_and_not_created(path):
    assert "there is no ledger" in refusal(path)
    assert os.listdir(path.parent) == []


def test_folder_link_and_pipe_are_refused(small_ledger, path):
    path.write_bytes(small_ledger[0])
    (path.parent / "folder").mkdir()
    (path.parent / "link").symlink_to(path)
    os.mkfifo(path.parent / "pipe")
    for name in ("folder", "link", "pipe"):
        assert "not a regular file" in refusal(path.parent / name)
    assert "Not a directory" in refusal(path / "inside")


def test_another_key_is_refused(ledger, path):
    ledger.close()
    with pytest.raises(VaultError, match="belongs to another owner key"):
        open_ledger(path, bytes(32))


def test_another_key_is_refused_on_a_fresh_ledger(path):
    create_ledger(path, KEY).close()
    with pytest.raises(VaultError, match="belongs to another owner key"):
        open_ledger(path, bytes(32))


def test_ledger_truncated_anywhere_is_refused(small_ledger, path):
    content, head = small_ledger
    for length in [*range(0, 200, 20), *range(200, len(content), 509)]:
        path.write_bytes(content[:length])
        with pytest.raises(VaultError) as caught:
            judge(path, head)
        assert LINE.fullmatch(str(caught.value))


def test_ledger_with_random_bytes_changed_never_gives_anothers_traceback(small_ledger, path):
    """Either the row content is untouched, and everything verifies, or one of our own errors is raised."""
    content, head = small_ledger
    source = random.Random(1)
    for _ in range(300):
        harmed = bytearray(content)
        for _ in range(source.choice([1, 1, 8, 200])):
            harmed[source.randrange(len(harmed))] = source.randrange(256)
        path.write_bytes(harmed)
        try:
            outcome = judge(path, head)
        except VaultError as error:
            outcome = str(error)
        assert outcome == 14 or LINE.fullmatch(outcome)
        for suffix in ("-wal", "-shm", "-journal"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)


def test_garbage_in_the_write_ahead_log_is_ignored_or_found(small_ledger, path):
    path.write_bytes(small_ledger[0])
    Path(f"{path}-wal").write_bytes(random.Random(2).randbytes(100_000))
    assert judge(path, small_ledger[1]) == 14


def test_huge_row_is_refused_before_it_is_read(small_ledger, path):
    path.write_bytes(small_ledger[0])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO entries VALUES (15, 'look', '', '', zeroblob(50000000), '', '', '')")
    assert "too big" in refusal(path)


def test_writer_that_never_lets_go_is_named_in_one_line(ledger, path):
    with ledger.store.reading() as transaction:  # its connection is used again
        transaction.connection.exec_driver_sql("PRAGMA busy_timeout = 50")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(VaultError, match="held by another process; try again"):
            ledger.reserve("r1", "Acme", AT)
        assert ledger.verify() == 2
        other.execute("ROLLBACK")
    assert ledger.reserve("r1", "Acme", AT).recipient == "Acme"


@pytest.fixture
def public_folder():
    """A folder that every user of this machine may enter."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextlib.contextmanager
def without_privileges(folder):
    """Let nobody write to `folder`; step down first when tests run as root, whom no mode stops."""
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_read_only_folder_is_refused_for_creation(public_folder):
    with without_privileges(public_folder), pytest.raises(VaultError, match="choose a writable folder") as caught:
        create_ledger(public_folder / "ledger.db", KEY)
    assert LINE.fullmatch(str(caught.value))
    assert os.listdir(public_folder) == []


def test_ledger_in_a_read_only_folder_is_refused_in_one_line(public_folder):
    path = public_folder / "ledger.db"
    create_ledger(path, KEY).close()
    path.chmod(0o444)
    with without_privileges(public_folder):
        assert "cannot be opened for writing" in refusal(path)
    assert judge(path) == 1


FILL = """
import resource, sys
from onnxfp.errors import VaultError
from onnxfp.ledger import create_ledger, open_ledger
path, limit = sys.argv[1], int(sys.argv[2])
with open_ledger(path, bytes(range(32))) as ledger:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        for number in range(100000):
            ledger.reserve("r1", f"Recipient {number}", "2026-01-02T03:04:05Z")
            print(number, flush=True)
    except VaultError as error:
        print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        ledger.reserve("r1", "room again", "2026-01-02T03:04:05Z")
"""


def test_full_disk_refuses_one_row_and_harms_none(ledger, path):
    ledger.close()
    command = [sys.executable, "-c", FILL, path, "200000"]
    *numbers, message = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "is the disk full? make room" in message
    with open_ledger(path, KEY) as reopened:
        assert reopened.verify() == 2 + len(numbers) + 1
        assert reopened.recipients() == (*(f"Recipient {number}" for number in numbers), "room again")


CREATE = """
import resource, sys
from onnxfp.errors import VaultError
from onnxfp.ledger import create_ledger
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
try:
    create_ledger(sys.argv[1], bytes(32))
except VaultError as error:
    print(error)
"""


def test_full_disk_while_creating_leaves_nothing_behind(path):
    done = subprocess.run([sys.executable, "-c", CREATE, path], capture_output=True, text=True, check=True)
    assert "disk" in done.stdout
    assert done.stdout.count("\n") == 1
    assert os.listdir(path.parent) == []


def test_damaged_page_is_found(ledger, path):
    for number in range(100):
        ledger.register(reference_entry(f"reference {number}"))
    ledger.close()
    content = bytearray(path.read_bytes())
    content[3 * 4096 : 4 * 4096] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(TamperedError):
        judge(path)

"""Whoever writes to the file without the chain key is found out, whatever they write."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from onnxfp.errors import TamperedError, VaultError
from onnxfp.ledger import open_ledger
from onnxfp.ledger.schema import _LAYOUT
from tests.ledger.conftest import AT, KEY, commitment_entry, judge

ROWS = 14
COLUMNS = ("seq", "kind", "reference", "subject", "payload", "time", "previous", "mac")
GUARDS = ("entries_no_update", "entries_no_delete")


def tamper(path, *statements):
    """Run SQL on a ledger as an adversary would: guards lifted first, and put back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for guard in GUARDS:
            connection.execute(f"DROP TRIGGER {guard}")
        for statement in statements:
            connection.execute(statement)
        for guard in GUARDS:
            connection.execute(_LAYOUT[guard])


@pytest.fixture
def copy(small_ledger, path):
    """A small ledger to harm."""
    path.write_bytes(small_ledger[0])
    return path


def test_untouched_ledger_verifies(copy, small_ledger):
    tamper(copy)
    assert judge(copy, small_ledger[1]) == ROWS


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("row", range(1, ROWS + 1))
def test_every_altered_field_of_every_row_is_found(copy, row, column):
    other = "1000" if column == "seq" else f"replace({column} || 'x', 'a', 'b')"
    tamper(copy, f"UPDATE entries SET {column} = {other} WHERE seq = {row}")
    with pytest.raises(TamperedError, match=f"row {row} |row 1000 |first row"):
        judge(copy)


@pytest.mark.parametrize("column", COLUMNS[1:])
@pytest.mark.parametrize("row", [1, 4, ROWS])
@pytest.mark.parametrize("other", ["CAST({} AS BLOB)", "CAST(x'ff' AS TEXT)", "''", "{} || char(0)", "x'00'"])
def test_every_field_of_another_type_is_found(copy, row, column, other):
    tamper(copy, f"UPDATE entries SET {column} = {other.format(column)} WHERE seq = {row} AND {column} != ''")
    unchanged = (row, column) in {(1, "reference"), (1, "subject"), (1, "time")}
    if unchanged:
        assert judge(copy) == ROWS
    else:
        with pytest.raises(VaultError):
            judge(copy)


@pytest.mark.parametrize("row", range(1, ROWS))
def test_every_removed_row_is_found(copy, row):
    tamper(copy, f"DELETE FROM entries WHERE seq = {row}")
    with pytest.raises(TamperedError, match=f"row {row} is missing|first row"):
        judge(copy)


@pytest.mark.parametrize("row", range(1, ROWS))
def test_every_removed_row_is_found_when_the_others_close_ranks(copy, row):
    tamper(
        copy,
        f"DELETE FROM entries WHERE seq = {row}",
        f"UPDATE entries SET seq = -seq WHERE seq > {row}",
        "UPDATE entries SET seq = -seq - 1 WHERE seq < 0",
    )
    with pytest.raises(TamperedError):
        judge(copy)


@pytest.mark.parametrize("row", range(1, ROWS))
@pytest.mark.parametrize("columns", ["seq", "kind, reference, subject, payload, time", "mac", "previous, mac"])
def test_every_swap_of_neighbours_is_found(copy, row, columns):
    if columns == "seq":
        statements = [
            f"UPDATE entries SET seq = -1 WHERE seq = {row}",
            f"UPDATE entries SET seq = {row} WHERE seq = {row + 1}",
            f"UPDATE entries SET seq = {row + 1} WHERE seq = -1",
        ]
    else:
        swapped = f"SELECT {columns} FROM before WHERE seq = 2 * {row} + 1 - entries.seq"
        statements = [
            "CREATE TEMP TABLE before AS SELECT * FROM entries",
            f"UPDATE entries SET ({columns}) = ({swapped}) WHERE seq IN ({row}, {row + 1})",
        ]
    tamper(copy, *statements)
    with pytest.raises(TamperedError):
        judge(copy)


@pytest.mark.parametrize("source", range(1, ROWS + 1))
def test_every_replayed_row_is_found(copy, source):
    fields = "kind, reference, subject, payload, time, previous, mac"
    tamper(copy, f"INSERT INTO entries SELECT {ROWS + 1}, {fields} FROM entries WHERE seq = {source}")
    with pytest.raises(TamperedError, match=f"row {ROWS + 1} "):
        judge(copy)


@pytest.mark.parametrize("place", [0, -5, 2**63 - 1])
def test_row_inserted_elsewhere_is_found(copy, place):
    fields = "kind, reference, subject, payload, time, previous, mac"
    tamper(copy, f"INSERT INTO entries SELECT {place}, {fields} FROM entries WHERE seq = 3")
    with pytest.raises(TamperedError):
        judge(copy)


def test_forged_reservation_chained_without_the_key_is_found_by_every_reader(copy):
    tamper(
        copy,
        f"INSERT INTO entries SELECT {ROWS + 1}, 'reserved', 'r1', 'Innocent', '{{}}', '{AT}', mac, '{'0' * 64}' "
        f"FROM entries WHERE seq = {ROWS}",
    )
    with pytest.raises(TamperedError, match=f"row {ROWS + 1} was altered"):
        open_ledger(copy, KEY)


@pytest.mark.parametrize("left", range(1, ROWS))
def test_cut_tail_is_found_against_the_head_and_only_so(copy, small_ledger, left):
    tamper(copy, f"DELETE FROM entries WHERE seq > {left}")
    assert judge(copy) == left
    with pytest.raises(TamperedError, match=f"was cut: it has {left} rows, without the expected head"):
        judge(copy, small_ledger[1])


def test_cut_tail_that_grew_again_is_found_against_the_head(copy, small_ledger):
    tamper(copy, "DELETE FROM entries WHERE seq > 6")
    with open_ledger(copy, KEY) as ledger:
        for number in range(10):
            ledger.reserve("r1", f"Recipient {number}", AT)
        assert ledger.verify() == 16
        with pytest.raises(TamperedError, match="without the expected head"):
            ledger.verify(small_ledger[1])


def test_genuine_rows_of_another_branch_are_found(copy, small_ledger, tmp_path):
    """Both branches were written by the owner, one of them after a backup was restored; only `previous` differs."""
    tamper(copy, "DELETE FROM entries WHERE seq > 6")
    with open_ledger(copy, KEY) as ledger:
        for recipient in ("Zeta", "Yoke", "Xeno"):
            ledger.reserve("r1", recipient, AT)
    (tmp_path / "other.db").write_bytes(small_ledger[0])
    tamper(
        copy,
        f"ATTACH '{tmp_path / 'other.db'}' AS other",
        "DELETE FROM entries WHERE seq > 7",
        "INSERT INTO entries SELECT * FROM other.entries WHERE seq > 7",
    )
    with pytest.raises(TamperedError, match="row 8 does not follow"):
        judge(copy, small_ledger[1])


def test_emptied_ledger_is_found(copy):
    tamper(copy, "DELETE FROM entries")
    with pytest.raises(TamperedError, match="first row"):
        judge(copy)


READERS = {
    "reference": lambda ledger: ledger.reference("r1"),
    "references": lambda ledger: ledger.references(),
    "issues": lambda ledger: ledger.issues(),
    "recipients": lambda ledger: ledger.recipients(),
    "reserve again": lambda ledger: ledger.reserve("r1", "Acme", AT),
    "complete": lambda ledger: ledger.complete("r1", "Acme", "ef" * 32, AT),
    "look": lambda ledger: ledger.record_look("12" * 32, "other", AT),
    "register": lambda ledger: ledger.register(ledger.reference("r1")),
    "commitments": lambda ledger: ledger.commitments(),
    "commit again": lambda ledger: ledger.commit(commitment_entry()),
    "drawn": lambda ledger: ledger.drawn(),
    "draw again": lambda ledger: ledger.draw("c1", "a beacon", AT),
    "spent": lambda ledger: ledger.spent("zhang:c1", "elsewhere", "somewhere"),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_a_row_that_was_altered_under_it(copy, reader):
    with open_ledger(copy, KEY) as ledger:
        tamper(copy, "UPDATE entries SET payload = 'not json' WHERE seq > 1")
        with pytest.raises(TamperedError, match="was altered"):
            READERS[reader](ledger)


def test_nothing_is_appended_to_an_altered_tail(copy):
    with open_ledger(copy, KEY) as ledger:
        tamper(copy, f"UPDATE entries SET time = '2020' || substr(time, 5) WHERE seq = {ROWS}")
        with pytest.raises(TamperedError, match=f"row {ROWS} was altered"):
            ledger.reserve("r1", "Zeta", AT)


@pytest.mark.parametrize("statement", ["UPDATE entries SET time = ''", "DELETE FROM entries WHERE seq = 5"])
def test_triggers_refuse_update_and_delete(copy, statement):
    connection = sqlite3.connect(copy)
    with contextlib.closing(connection), pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(statement)
    assert judge(copy) == ROWS


def test_refusal_of_a_trigger_is_one_line_of_ours(copy):
    with open_ledger(copy, KEY) as ledger:
        with pytest.raises(VaultError, match="a ledger is append-only"), ledger.store.writing() as transaction:
            transaction.connection.exec_driver_sql("DELETE FROM entries")
        assert ledger.verify() == ROWS


FOREIGN = {
    "trigger removed": "DROP TRIGGER entries_no_delete",
    "index removed": "DROP INDEX entries_about",
    "trigger that swallows rows": "CREATE TRIGGER thief BEFORE INSERT ON entries BEGIN SELECT RAISE(IGNORE); END",
    "another table": "CREATE TABLE more (x)",
    "a view": "CREATE VIEW more AS SELECT * FROM entries",
    "another column": "ALTER TABLE entries ADD COLUMN more TEXT",
    "table renamed": "ALTER TABLE entries RENAME TO rows",
}


@pytest.mark.parametrize("change", FOREIGN)
def test_changed_layout_is_refused(copy, change):
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        connection.execute(FOREIGN[change])
    with pytest.raises(TamperedError, match="tables or triggers"):
        judge(copy)


def test_index_that_hides_rows_is_found(copy):
    index = _LAYOUT["entries_about"]
    tamper(
        copy,
        "DROP INDEX entries_about",
        f"{index} WHERE seq < 5",
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_master SET sql = '{index}' WHERE name = 'entries_about'",
    )
    with pytest.raises(TamperedError, match="do not fit together"):
        judge(copy)

"""The one table of a ledger, version 1, and the refusal of every file that holds anything else."""

from __future__ import annotations

import sqlalchemy as sa

from onnxfp.errors import TamperedError, VaultError

APPLICATION = 0x6F6E6670  # "onfp": SQLite keeps it in the file's header
VERSION = 1

ENTRIES = sa.table(
    "entries",
    sa.column("seq", sa.Integer),
    sa.column("kind", sa.Text),
    sa.column("reference", sa.Text),
    sa.column("subject", sa.Text),
    sa.column("payload", sa.Text),
    sa.column("time", sa.Text),
    sa.column("previous", sa.Text),
    sa.column("mac", sa.Text),
)

# Written out, since the text itself is compared when a ledger is opened: no release of SQLAlchemy may change it.
_LAYOUT = {
    "entries": "CREATE TABLE entries (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, reference TEXT NOT NULL, "
    "subject TEXT NOT NULL, payload TEXT NOT NULL, time TEXT NOT NULL, previous TEXT NOT NULL, mac TEXT NOT NULL)",
    "entries_about": "CREATE INDEX entries_about ON entries (kind, reference, subject)",
    "entries_no_update": "CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'a ledger is append-only'); END",
    "entries_no_delete": "CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'a ledger is append-only'); END",
}


def create_layout(connection: sa.Connection) -> None:
    """Create the table, its index and the triggers that refuse UPDATE and DELETE."""
    for statement in _LAYOUT.values():
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION}")
    connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")


def check_layout(connection: sa.Connection, path: str) -> None:
    """Refuse a database that is not exactly a ledger of this version.

    Raises:
        VaultError: it is something else, or of another version.
        TamperedError: its table, index or triggers were changed, or others were added.
    """
    if connection.exec_driver_sql("PRAGMA application_id").scalar() != APPLICATION:
        raise VaultError(f"{path} is not a ledger; say where yours is")
    version = connection.exec_driver_sql("PRAGMA user_version").scalar()
    if version != VERSION:
        raise VaultError(f"{path} is a ledger of version {version}, not {VERSION}; use the release that wrote it")
    found = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master LIMIT 99").all()
    if {name: sql for name, sql in found} != _LAYOUT:
        raise TamperedError(f"the tables or triggers of {path} are not those of a ledger; restore it from a backup")


def check_integrity(connection: sa.Connection, path: str) -> None:
    """Let SQLite compare the table with its index, page by page.

    Raises:
        TamperedError: they disagree.
    """
    if connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar() != "ok":
        raise TamperedError(f"the pages of the ledger {path} do not fit together; restore it from a backup")

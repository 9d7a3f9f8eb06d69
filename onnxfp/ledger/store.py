"""Rows in a SQLite file: transactions, queries, and every failure of either in one line."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import sqlalchemy as sa

from onnxfp.errors import TamperedError, UsageError, VaultError
from onnxfp.ledger.entries import Kind, Row
from onnxfp.ledger.schema import ENTRIES

_PATIENCE = 60.0  # seconds to wait for another writer
_LARGEST_VALUE = 1 << 24  # bytes of one row; a hostile file cannot make us read more at once
_ROWS_AT_ONCE = 1000
_NEWEST_FIRST = ENTRIES.c.seq.desc()


@final
@dataclass(frozen=True)
class Transaction:
    """What can be done to a ledger at one moment; nothing that another process does is seen in between."""

    connection: sa.Connection

    def last(self) -> Row | None:
        """Return the newest row."""
        return self._first(sa.select(ENTRIES).order_by(_NEWEST_FIRST).limit(1))

    def find(self, kind: Kind, reference: str, subject: str = "") -> Row | None:
        """Return the oldest row of this kind about this reference and subject, in logarithmic time."""
        return self._first(_about(kind, reference).where(ENTRIES.c.subject == subject).limit(1))

    def rows(self, *kinds: Kind, reference: str | None = None, subject: str | None = None) -> Iterator[Row]:
        """Stream the rows of some kinds (of all, when none is given), oldest first."""
        query = sa.select(ENTRIES).order_by(ENTRIES.c.seq)
        if kinds:
            query = query.where(ENTRIES.c.kind.in_([kind.value for kind in kinds]))
        if reference is not None:
            query = query.where(ENTRIES.c.reference == reference)
        if subject is not None:
            query = query.where(ENTRIES.c.subject == subject)
        for row in self.connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}):
            yield Row._make(row)

    def count_subjects(self, kind: Kind, besides: str) -> int:
        """Count the different subjects of a kind, without one of them; by the database, so no seal is checked."""
        query = sa.select(sa.func.count(ENTRIES.c.subject.distinct()))
        query = query.where(ENTRIES.c.kind == kind.value, ENTRIES.c.subject != besides)
        return int(self.connection.execute(query).scalar_one())

    def append(self, row: Row) -> None:
        """Write one more row."""
        self.connection.execute(sa.insert(ENTRIES), row._asdict())

    def _first(self, query: sa.Select[tuple[object, ...]]) -> Row | None:
        found = self.connection.execute(query).first()
        return None if found is None else Row._make(found)


@final
@dataclass(frozen=True)
class Store:
    """A SQLite file that holds a ledger; may be shared between threads, not across a fork."""

    path: str
    engine: sa.Engine

    @contextlib.contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Open a snapshot."""
        with _translated(self.path), self.engine.connect() as connection, connection.begin():
            yield Transaction(connection)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Open the one write transaction that the file admits; what it wrote is on the disk when the block ends."""
        with (
            _translated(self.path),
            self.engine.connect().execution_options(begin="BEGIN IMMEDIATE") as connection,
            connection.begin(),
        ):
            yield Transaction(connection)

    def use_write_ahead_log(self) -> None:
        """Let readers and one writer work side by side; the file remembers it."""
        with _translated(self.path), self.engine.connect() as connection:
            connection.connection.execute("PRAGMA journal_mode = WAL")

    def close(self) -> None:
        """Give back all connections; the last one to leave folds the write-ahead log into the file."""
        with _translated(self.path):
            self.engine.dispose()


def connect_store(path: str | os.PathLike[str]) -> Store:
    """Return the store of a file that exists; nothing is read yet."""
    location = os.path.abspath(path)
    uri = Path(location).as_uri() + "?mode=rw"  # never create

    def connect() -> sqlite3.Connection:
        # Transactions are ours alone: isolation_level None keeps the driver from beginning any.
        raw = sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
            for setting in ("synchronous = FULL", "fullfsync = ON", "trusted_schema = OFF", "cell_size_check = ON"):
                raw.execute(f"PRAGMA {setting}")
        except BaseException:
            raw.close()
            raise
        return raw

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.QueuePool, max_overflow=-1)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return Store(location, engine)


def _about(kind: Kind, reference: str) -> sa.Select[tuple[object, ...]]:
    matches = (ENTRIES.c.kind == kind.value) & (ENTRIES.c.reference == reference)
    return sa.select(ENTRIES).where(matches).order_by(ENTRIES.c.seq)


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    """Raise what SQLite and SQLAlchemy raise as errors of the vault, in one line, with the file's name."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _blame(path, error.orig) from None
    except sqlite3.Error as error:
        raise _blame(path, error) from None
    except UnicodeDecodeError:  # the driver could not even read the error, which quotes the file
        raise _damaged(path) from None
    except UnicodeEncodeError:
        raise UsageError("a ledger holds Unicode text only; leave out what is not") from None


def _blame(path: str, error: BaseException | None) -> VaultError:
    code = getattr(error, "sqlite_errorcode", None)
    said = str(error).encode("unicode_escape").decode()[:200]  # it may quote a hostile file
    match None if code is None else code & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return VaultError(f"{path} is not a ledger (no SQLite file); say where yours is")
        case sqlite3.SQLITE_CORRUPT | None:  # without a code: text that is not UTF-8
            return _damaged(path)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return VaultError(f"the ledger {path} is held by another process; try again")
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return VaultError(f"the ledger {path} cannot be read or written ({said}): is the disk full? make room")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return VaultError(f"the ledger {path} cannot be opened for writing ({said}); check folder and mode")
    return VaultError(f"the ledger {path} was refused: {said}; restore it from a backup if that stays")


def _damaged(path: str) -> TamperedError:
    return TamperedError(f"the ledger {path} is damaged; restore it from a backup")

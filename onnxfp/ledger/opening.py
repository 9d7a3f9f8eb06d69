"""Create a ledger, or open one after checking that the file is one and that the chain key is its own."""

from __future__ import annotations

import contextlib
import os
import stat

from onnxfp.errors import TamperedError, VaultError
from onnxfp.keys.private_file import new_private_file
from onnxfp.ledger.chain import KEY_BYTES, check_seal, is_sealed, next_row
from onnxfp.ledger.entries import Kind, Row, canonical_json
from onnxfp.ledger.ledger import Ledger


def create_ledger(path: str | os.PathLike[str], chain_key: bytes) -> Ledger:
    """Create an empty ledger, which appears whole or not at all, and open it.

    Args:
        path: where it shall stand, with mode 0600; must not exist.
        chain_key: 32 secret bytes, needed whenever it is opened.

    Raises:
        VaultError: the path is taken, or the folder or the disk refuses.
    """
    _check_key(chain_key)
    try:
        with new_private_file(path) as temporary:
            _fill(temporary, chain_key)
    except FileExistsError:
        raise VaultError(f"{path} exists already; a ledger is never overwritten: use it, or move it away") from None
    except OSError as error:
        raise VaultError(f"cannot write the ledger {path}: {error.strerror}; choose a writable folder") from None
    return open_ledger(path, chain_key)


def open_ledger(path: str | os.PathLike[str], chain_key: bytes) -> Ledger:
    """Open a ledger; its first and last rows are checked, `Ledger.verify` checks all.

    Args:
        path: a file that `create_ledger` made.
        chain_key: the 32 secret bytes that it was created with.

    Raises:
        VaultError: there is no such file, or it is no ledger of this version, or one under another key.
        TamperedError: its layout, its first row or its last row was altered.
    """
    from onnxfp.ledger.schema import check_layout
    from onnxfp.ledger.store import connect_store

    _check_key(chain_key)
    _refuse_irregular(path)
    store = connect_store(path)
    with contextlib.ExitStack() as stack:
        stack.callback(store.close)
        with store.reading() as transaction:
            check_layout(transaction.connection, store.path)
            first, last = transaction.find(Kind.CREATED, ""), transaction.last()
            _check_ends(first, last, chain_key, store.path)
        stack.pop_all()
    return Ledger(store, chain_key)


def _fill(path: str, chain_key: bytes) -> None:
    from onnxfp.ledger.schema import create_layout
    from onnxfp.ledger.store import connect_store

    store = connect_store(path)
    try:
        with contextlib.closing(store):
            with store.writing() as transaction:
                create_layout(transaction.connection)
                transaction.append(_first_row(chain_key))
            store.use_write_ahead_log()  # last: the file is complete without its log
    finally:
        for suffix in ("-journal", "-wal", "-shm"):  # gone already, unless the disk was full
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + suffix)


def _first_row(chain_key: bytes) -> Row:
    from onnxfp.ledger.schema import VERSION

    return next_row(chain_key, None, (Kind.CREATED, "", "", canonical_json({"version": VERSION})), "")


def _check_ends(first: Row | None, last: Row | None, chain_key: bytes, path: str) -> None:
    if first is None or last is None:
        raise TamperedError(f"the first row of the ledger {path} is gone; restore it from a backup")
    if first[:-1] != _first_row(chain_key)[:-1]:
        raise TamperedError(f"ledger row {first.seq} was altered; restore the ledger {path} from a backup")
    if not is_sealed(chain_key, first) and not is_sealed(chain_key, last):
        raise VaultError(f"the ledger {path} belongs to another owner key; give the one that it was created with")
    check_seal(chain_key, first)
    check_seal(chain_key, last)


def _check_key(chain_key: bytes) -> None:
    if len(chain_key) != KEY_BYTES:
        raise ValueError(f"a chain key has {KEY_BYTES} bytes, not {len(chain_key)}")


def _refuse_irregular(path: str | os.PathLike[str]) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        raise VaultError(f"there is no ledger {path}; create a vault, or say where yours is") from None
    except OSError as error:
        raise VaultError(f"cannot open the ledger {path}: {error.strerror}; check its folder") from None
    if not stat.S_ISREG(mode):
        raise VaultError(f"the ledger {path} is not a regular file; it must be one")

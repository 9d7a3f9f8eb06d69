"""The hash chain: each row's mac covers its fields and the mac of the row before, under the owner's chain key.

Without the key no row can be altered, inserted, removed or moved unseen. Only a cut tail leaves a whole chain behind;
it is found by a *head*, ``seq:mac`` of the last row at some time, that was noted outside the ledger.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Iterable, Iterator

from onnxfp.errors import TamperedError, UsageError
from onnxfp.ledger.entries import Row

KEY_BYTES = 32
BEFORE_FIRST = "0" * 64
_HEAD = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", re.ASCII)
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)", re.ASCII)


def next_row(chain_key: bytes, last: Row | None, content: tuple[str, str, str, str], at: str) -> Row:
    """Return the row that follows `last`.

    Args:
        chain_key: the secret of the chain.
        last: the row before, or None for the first.
        content: kind, reference, subject and payload.
        at: UTC, ISO 8601; empty for the first row, which nobody is asked to date.
    """
    if last is not None and not _UTC.fullmatch(at):
        raise ValueError(f"a ledger takes times as ISO 8601 in UTC, not {at!r}")
    seq, previous = (1, BEFORE_FIRST) if last is None else (last.seq + 1, last.mac)
    fields = (seq, *content, at, previous)
    return Row(*fields, mac=_mac(chain_key, fields))


def is_sealed(chain_key: bytes, row: Row) -> bool:
    """Say whether the mac of a row is that of its fields."""
    try:
        return hmac.compare_digest(row.mac, _mac(chain_key, row[:-1]))
    except TypeError:  # bytes, a fraction or letters that no mac has, where something else was written
        return False


def check_seal(chain_key: bytes, row: Row) -> Row:
    """Return the row if its mac is that of its fields.

    Raises:
        TamperedError: it is not.
    """
    if not is_sealed(chain_key, row):
        raise TamperedError(
            f"ledger row {row.seq} was altered: its seal does not fit; restore the ledger from a backup"
        )
    return row


def check_chain(chain_key: bytes, rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows of a whole ledger as long as each is genuine and follows the one before.

    Raises:
        TamperedError: at the first row that is not or does not.
    """
    seq, previous = 1, BEFORE_FIRST
    for row in rows:
        if row.seq != seq:
            raise TamperedError(f"ledger row {seq} is missing: row {row.seq} stands there; restore it from a backup")
        if row.previous != previous:
            raise TamperedError(f"ledger row {seq} does not follow the row before; restore the ledger from a backup")
        yield check_seal(chain_key, row)
        seq, previous = seq + 1, row.mac


def format_head(row: Row) -> str:
    """Return the head of a ledger that ends with `row`."""
    return f"{row.seq}:{row.mac}"


def parse_head(text: str) -> tuple[int, str]:
    """Return seq and mac of a head.

    Raises:
        UsageError: it is none.
    """
    found = _HEAD.fullmatch(text.strip())
    if found is None:
        raise UsageError("the expected head is not of the form NUMBER:64 hexadecimal digits; copy it as it was printed")
    return int(found[1]), found[2]


def _mac(chain_key: bytes, fields: tuple[int | str, ...]) -> str:
    return hmac.digest(chain_key, json.dumps(fields).encode(), "sha256").hex()

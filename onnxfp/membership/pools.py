"""Pools: rows in positions, of each of which one pool is trained on and the others are held back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Symbols
from onnxfp.errors import CapacityError
from onnxfp.keys.keystream import Keystream

RowNumbers = npt.NDArray[np.int64]


def draw_pools(
    labels: npt.NDArray[np.int64], group: RowNumbers, form: tuple[int, int, int], keystream: Keystream
) -> RowNumbers:
    """Return (positions, pools, size): row numbers, so that all pools of a position have the same labels.

    Each pool of a position takes one of `pools` rows of one label, as often as it has rows. Of near-duplicates only
    the first is taken, for all of them. Who gets what is drawn by key, and independent of what will be trained on.

    Args:
        labels: (rows,).
        group: (rows,): the first of each row's near-duplicates.
        form: positions, pools for each, rows for each pool.
        keystream: all comes from it.

    Raises:
        CapacityError: there are too few rows.
    """
    positions, pools, size = form
    order = keystream.derive("rows").words32(len(labels))
    units = np.flatnonzero(group == np.arange(len(group)))
    units = units[np.argsort(order[units], kind="stable")]
    sets = [_sets(units[labels[units] == label], pools) for label in np.unique(labels)]
    slots = np.concatenate([np.zeros((0, pools), dtype=np.int64), *sets])
    if len(slots) < positions * size:
        raise CapacityError(
            f"not enough rows: {len(units)} that are not near-duplicates of one another make {len(slots) // size} "
            f"positions of {pools} pools of {size} with equal labels, {positions} are asked for; give more data"
        )
    chosen = np.argsort(keystream.derive("slots").words32(len(slots)), kind="stable")[: positions * size]
    return slots[chosen].reshape(positions, size, pools).transpose(0, 2, 1).copy()


def rows_to_train(rows: RowNumbers, group: RowNumbers, word: Symbols) -> npt.NDArray[np.bool_]:
    """Return (rows,): which rows a word has trained on: its pools, near-duplicates included, and all that is in none.

    Args:
        rows: (positions, pools, size).
        group: (rows,): the first of each row's near-duplicates.
        word: (positions,): which pool of each is trained on.
    """
    taken = np.zeros(rows.shape[:2], dtype=bool)
    taken[np.arange(len(word)), word] = True
    held = np.zeros(len(group), dtype=bool)
    held[rows[~taken]] = True
    return ~held[group]


def _sets(units: RowNumbers, pools: int) -> RowNumbers:
    return units[: len(units) // pools * pools].reshape(-1, pools)

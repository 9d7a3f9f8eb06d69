"""Near-duplicates: rows so alike that a model trained on one has as good as trained on the other.

Rows are compared by the signs of public random directions (SimHash, Charikar 2002) and what falls together is looked at
again: no pair of rows is compared that has not one of twelve words of 24 bits in common. Rows that are equal are found
by their digests. Memory is flat in the size of a row: below a kilobyte for each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Rows
from onnxfp.keys.keystream import public_numbers

ALIKE = 0.98  # correlation of two rows about the mean row, from which on they are near-duplicates

_BANDS, _BITS = 12, 24  # two rows of correlation 0.98 fall together with probability 0.93, of 0.99 with 0.99
FOLDED = 1024  # numbers that a long row is folded to
_NEIGHBOURS = 4  # rows of one word with which each is compared
_BLOCK = 2048  # rows or pairs at a time at most
_NUMBERS = 1 << 23  # of rows that are in memory at a time, unless one row has more
_LARGEST = 1e15  # a number beyond counts as none: its square is past what 32 bits hold
_PUBLIC = public_numbers("near-duplicates")  # what is near is no secret


def groups(inputs: Rows, alike: float = ALIKE) -> npt.NDArray[np.int64]:
    """Return, for each row, the first row of its group of near-duplicates (rows,); exact ones are always among them.

    Args:
        inputs: (rows, ...), numbers.
        alike: correlation from which on two rows are near-duplicates.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if len(inputs) < 2:
        return np.arange(len(inputs))
    mean = _mean(inputs)
    pairs = _candidates(_words(inputs, mean))
    step = block_of(inputs)
    close = np.concatenate(
        [_are_alike(inputs, mean, pairs[at : at + step], alike) for at in range(0, max(1, len(pairs)), step)]
    )
    joined = np.concatenate([pairs[close], _equal(inputs)])
    graph = coo_array((np.ones(len(joined)), (joined[:, 0], joined[:, 1])), shape=(len(inputs),) * 2)
    _, group = connected_components(graph, directed=False)
    _, first = np.unique(group, return_index=True)
    representative: npt.NDArray[np.int64] = first.astype(np.int64)[group]
    return representative


def block_of(inputs: Rows) -> int:
    """Return how many rows are taken at a time."""
    return max(1, min(_BLOCK, _NUMBERS // max(1, int(np.prod(inputs.shape[1:])))))


def _blocks(inputs: Rows) -> Iterator[npt.NDArray[np.float32]]:
    step = block_of(inputs)
    for at in range(0, max(1, len(inputs)), step):
        yield flat(inputs[at : at + step])


def flat(rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return (rows, numbers): each row in one line, with 0 for what is no number or an enormous one."""
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(rows).reshape(len(rows), -1).astype(np.float32)
    return np.where(np.abs(numbers) < _LARGEST, numbers, np.float32(0.0))


def _equal(inputs: Rows) -> npt.NDArray[np.int64]:
    """Return (rows, 2): each row, and the first that equals it."""
    lines = (line for block in _blocks(inputs) for line in block + np.float32(0.0))  # which makes 0 of -0
    digests = b"".join(hashlib.blake2b(line.tobytes(), digest_size=16).digest() for line in lines)
    _, first, same = np.unique(np.frombuffer(digests, dtype="<u8,<u8"), return_index=True, return_inverse=True)
    return np.stack([first[same], np.arange(len(inputs))], axis=1)


def _mean(inputs: Rows) -> npt.NDArray[np.float32]:
    total = sum(block.sum(axis=0, dtype=np.float64) for block in _blocks(inputs))
    return np.asarray(total / len(inputs), dtype=np.float32)


def _words(inputs: Rows, mean: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """Return (rows, bands): words that near-duplicates are likely to share."""
    fold, width = folding(len(mean)), min(len(mean), FOLDED)
    drawn = _PUBLIC.derive("directions").normals(width * _BANDS * _BITS)
    directions = drawn.astype(np.float32).reshape(width, _BANDS * _BITS)
    weights = (1 << np.arange(_BITS)).astype(np.uint32)
    parts = []
    for block in _blocks(inputs):
        centred = block - mean
        signs = ((centred if fold is None else centred @ fold) @ directions > 0).reshape(len(block), _BANDS, _BITS)
        parts.append(signs.astype(np.uint32) @ weights)
    return np.concatenate(parts)


def folding(size: int) -> Any:
    """Return a sparse (size, folded) map that keeps inner products in the mean; None for rows that are short."""
    from scipy.sparse import csr_array

    if size <= FOLDED:
        return None
    drawn = _PUBLIC.derive("folding").words32(size)
    signs = np.where(drawn >> np.uint32(31), 1.0, -1.0).astype(np.float32)
    return csr_array((signs, (np.arange(size), drawn % np.uint32(FOLDED))), shape=(size, FOLDED))


def _candidates(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Return (pairs, 2): rows that share a word, each with the few that come next to it."""
    found = [np.zeros((0, 2), dtype=np.int64)]
    for band in range(words.shape[1]):
        order = np.lexsort((words[:, (band + 1) % words.shape[1]], words[:, band]))
        for step in range(1, _NEIGHBOURS + 1):
            first, second = order[:-step], order[step:]
            same = words[first, band] == words[second, band]
            found.append(np.sort(np.stack([first[same], second[same]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _are_alike(
    inputs: Rows, mean: npt.NDArray[np.float32], pairs: npt.NDArray[np.int64], alike: float
) -> npt.NDArray[np.bool_]:
    if not len(pairs):
        return np.zeros(0, dtype=bool)
    one, other = (flat(inputs[pairs[:, side]]) - mean for side in (0, 1))
    scale = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    close: npt.NDArray[np.bool_] = np.einsum("rf,rf->r", one, other) > alike * np.maximum(scale, 1e-30)
    return close

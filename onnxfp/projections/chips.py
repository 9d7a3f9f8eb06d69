"""Keyed chips: a sparse secret map in which every weight belongs to several overlapping positions.

A chip is a keyed signed sum over many weights; every weight is a member of `overlap` chips with keyed signs. Comparing
copies therefore shows, per weight, only a mixture of many symbols, and whatever colluders do weight by weight (minimum,
maximum, median, picking at random) acts on each chip like averaging. Weights and positions fall into four strata with
separate subkeys, so that evidence handed over burns one of them only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, final

import numpy as np

from onnxfp.domain import Floats, Weights
from onnxfp.keys.keystream import Keystream, Words16
from onnxfp.projections.centring import Layout

Result = TypeVar("Result")

STRATA = 4
TILE = 64  # consecutive weights of one stratum
_CHUNK = 1 << 14  # weights whose memberships are drawn at a time
_TOLERANCE = 0.08  # relative residual at which `min_norm_update` stops
_GRID = 12  # bits below its root mean square to which a solution is rounded: sums of such numbers are exact
_ITERATIONS = 40  # conjugate gradients stop here at the latest


@final
@dataclass(frozen=True)
class Chips:
    """`positions` chips over the weights of a layout, each in `overlap` of them (drawn with replacement).

    What is read and written is centred: the mean of any row or column of a weight matrix is left alone.
    """

    keystream: Keystream
    layout: Layout
    positions: int
    overlap: int

    def __post_init__(self) -> None:
        if self.positions.bit_count() != 1 or not STRATA <= self.positions <= STRATA * (1 << 15):
            raise ValueError(f"positions must be a power of two from {STRATA} to {STRATA * (1 << 15)}")

    @cached_property
    def size(self) -> int:
        """Number of weights."""
        return self.layout.size

    @property
    def scale(self) -> float:
        """Factor that lets a unit symbol move each of its weights by one unit in the root mean square."""
        return self.positions / (self.size * float(np.sqrt(self.overlap)))

    def apply(self, residual: Weights) -> Floats:
        """Sum residuals (size,) over each chip: (positions,)."""
        tiles = self._tiles(self.layout.centred(residual))

        def summed(stratum: int) -> Floats:
            signed = np.zeros(2 * (self.positions // STRATA))
            for members, operator in self._operators(stratum):
                signed += operator.T @ tiles[stratum, members]
            return (signed[0::2] - signed[1::2]) * self.scale

        return np.concatenate(_each_stratum(summed))

    def adjoint(self, values: Floats) -> Weights:
        """Spread values (positions,) over the members of each chip: (size,)."""
        both = np.stack([values, -values], axis=-1).reshape(STRATA, -1).astype(np.float32)
        update = np.zeros(self._padded, dtype=np.float32)
        tiles = update.reshape(-1, STRATA, TILE)

        def spread(stratum: int) -> None:
            for members, operator in self._operators(stratum):
                flat = (operator @ both[stratum]) * np.float32(self.scale)
                tiles[members.start // TILE : members.stop // TILE, stratum] = flat.reshape(-1, TILE)

        _each_stratum(spread)
        return self.layout.centred(update[: self.size])

    def min_norm_update(self, values: Floats) -> Weights:
        """Return the smallest change (size,) that reads as `values` (positions,) to eight per cent.

        What is missing is noise far below that of other recipients' symbols. Solves (A A^T) z = values by conjugate
        gradients (A is well conditioned, having far more weights than positions) and returns A^T z. The last bits of z
        depend on the machine's linear algebra, so z is rounded: the same values give the same change, to the bit,
        everywhere.
        """
        z = np.zeros(self.positions)
        residual = np.array(values, dtype=np.float64)
        direction, power = residual.copy(), float(residual @ residual)
        goal = power * _TOLERANCE**2
        for _ in range(_ITERATIONS):
            if power <= goal:
                break
            image = self.apply(self.adjoint(direction))
            step = power / float(direction @ image)
            z += step * direction
            residual -= step * image
            previous, power = power, float(residual @ residual)
            direction = residual + (power / previous) * direction
        return self.adjoint(_rounded(z))

    @property
    def _padded(self) -> int:
        return -(-self.size // (STRATA * TILE)) * STRATA * TILE

    def _tiles(self, residual: Weights) -> Weights:
        padded = np.zeros(self._padded, dtype=np.float32)
        padded[: self.size] = residual
        return np.ascontiguousarray(padded.reshape(-1, STRATA, TILE).swapaxes(0, 1)).reshape(STRATA, -1)

    def _operators(self, stratum: int) -> Iterator[tuple[slice, Any]]:
        """Yield (weights of the stratum, sparse (weights, 2 * its positions)): a column per chip and sign."""
        from scipy.sparse import csr_array

        share, columns = self._padded // STRATA, 2 * (self.positions // STRATA)
        ones = np.ones(min(_CHUNK, share) * self.overlap, dtype=np.float32)
        rows = np.arange(0, ones.size + 1, self.overlap, dtype=np.int32)
        for start in range(0, share, _CHUNK):
            stop = min(start + _CHUNK, share)
            chosen = self._members[stratum][start * self.overlap : stop * self.overlap].astype(np.int32)
            parts = (ones[: chosen.size], chosen, rows[: stop - start + 1])
            yield slice(start, stop), csr_array(parts, shape=(stop - start, columns), copy=False)

    @cached_property
    def _members(self) -> tuple[Words16, ...]:
        """Per stratum (weights * overlap,) the columns that each weight belongs to; drawn once, two bytes each."""
        share, columns = self._padded // STRATA, 2 * (self.positions // STRATA)
        shift = np.uint16(16 - columns.bit_length() + 1)

        def drawn(stratum: int) -> Words16:
            return self.keystream.derive("stratum", str(stratum)).words16(share * self.overlap) >> shift

        return tuple(_each_stratum(drawn))


def _each_stratum(work: Callable[[int], Result]) -> list[Result]:
    """Do the same for every stratum, in as many threads as there are cores; sparse products release the lock."""
    with ThreadPoolExecutor(min(STRATA, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, range(STRATA)))


def _rounded(z: Floats) -> Floats:
    size = float(np.sqrt(np.mean(z**2)))
    unit = 2.0 ** (np.floor(np.log2(size)) - _GRID) if size > 0 else 1.0
    return np.round(z / unit) * unit

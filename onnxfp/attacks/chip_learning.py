"""The strong form of collusion: compare copies, learn which weights share chips, then choose a value per learnt chip.

A coalition sees, per weight, how its copies differ, but neither the reference nor the key. What that betrays depends on
how many chips a weight belongs to:

- One chip to a weight: every weight has two values only, and which colluder has which IS the symbol column of its chip.
  Chips are learnt exactly, up to those with the same column, and can be set to any colluder's value, to the minority's
  or to the majority's.
- Many chips to a weight (spread's default): a difference is a sum of 16 columns. They cannot be separated from K - 1
  numbers, so a column is learnt only statistically. Two ways hurt the owner more than random picking does:
  *pursuit* decomposes each difference greedily into likely columns and picks a colluder per column;
  *skewness* uses that the minority of a column lies farther from its mean than the majority does, so the sum of cubed
  deviations leans towards the minority symbol. It leans a little per weight and adds up over a chip.

Simulated with 690 000 weights, 8 192 positions, strength 0.05 and 16 chips to a weight: whether two weights share a
chip is told from correlation, clusters or pursuit with an AUC of 0.50 to 0.52 (8 and 30 copies; by column 0.91 and
0.97 with one chip to a weight), and factors of the differences are all about equally strong. Of 8 colluders 4 to 8
were named under every rule, at any gain up to 8. Of 30, about 26 were named at gain 1, 7 at gain 2, 2 at gain 4 and
none at gain 8. So from some 20 colluders on, a lean of 4 to 8 marks, which costs little accuracy, lets most or all of
them escape; no innocent was ever named. More chips to a weight weaken the lean: with 64, 20 of 30 were named at gain
2.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt

from onnxfp.artifact import Artifact, Patch, TensorRecord
from onnxfp.attacks.carrierwise import read_copies, rewrite
from onnxfp.attacks.interface import Step
from onnxfp.domain import Weights

Bits = npt.NDArray[np.bool_]

_OVERLAP = 16  # spread's published default: chips to a weight
_TWO_LEVEL_SHARE = 0.9  # of the weights that must show two values only for chips to be read off
_TWO_LEVEL_WIDTH = 0.2  # of the distance between the two values
_QUIET = 0.5  # of the typical range of a weight; copies that differ by less have the same symbols
_ALL_COLUMNS = 8  # copies up to which every possible column is tried
_CENTRES, _SAMPLE, _SWEEPS = 256, 1 << 15, 6  # of the clustering that proposes columns of more copies
_ROUNDS = 8  # columns taken out of each difference
_BLOCK = 1 << 14  # weights decomposed at a time


class Rule(enum.Enum):
    """What a learnt chip is set to."""

    PICK = "pick"
    MINORITY = "minority"
    MAJORITY = "majority"


@final
@dataclass(frozen=True)
class LearnedChips(Step):
    """Learn chips from at least three copies and set each by `rule`."""

    rule: Rule
    gain: float = 1.0
    """How far to lean when chips overlap, as a multiple of the mark's own amplitude."""

    @property
    def sources(self) -> tuple[int, int | None]:
        """Three or more copies: two show no minority."""
        return 3, None

    def write(self, sources: Sequence[Path], destination: Path, rng: np.random.Generator, *, force: bool) -> None:
        """Carrier by carrier, with the same choice for a column in all of them."""
        seed = int(rng.integers(1 << 62))

        def patches(artifacts: Sequence[Artifact], records: Sequence[TensorRecord]) -> Iterator[Patch]:
            for record in records:
                copies = read_copies(artifacts, record, 0, record.size)
                yield Patch(record.name, 0, learn(copies, self.rule, self.gain, np.random.default_rng(seed)))

        rewrite(sources, destination, patches, force=force)


def learn(copies: Weights, rule: Rule, gain: float, rng: np.random.Generator) -> Weights:
    """Return (n,): weights of one carrier from (copies, n), chips learnt as far as they can be.

    The same generator state makes the same choice per column, so carriers that share chips are changed alike.
    """
    if shows_two_levels(copies):
        return by_column(copies, rule, rng)
    if rule is Rule.PICK:
        return by_pursuit(copies, rng)
    return by_skewness(copies, gain if rule is Rule.MINORITY else -gain)


def shows_two_levels(copies: Weights) -> bool:
    """Tell whether weights have two values each: then every weight belongs to one chip."""
    low, high = copies.min(axis=0), copies.max(axis=0)
    loud = _loud(high - low)
    off = np.minimum(copies - low, high - copies).max(axis=0)[loud]
    return bool(loud.any() and np.mean(off <= _TWO_LEVEL_WIDTH * (high - low)[loud]) >= _TWO_LEVEL_SHARE)


def by_column(copies: Weights, rule: Rule, rng: np.random.Generator) -> Weights:
    """Read each weight's column off its two values and set it by `rule`; a tie becomes the point between them."""
    columns, low, high = columns_of(copies)
    if rule is Rule.PICK:
        return np.asarray(copies[_colluder(columns, rng), np.arange(copies.shape[1])])
    lean = 2 * columns.sum(axis=0) - len(copies)
    if rule is Rule.MINORITY:
        lean = -lean
    return np.where(lean > 0, high, np.where(lean < 0, low, (low + high) / 2))


def columns_of(copies: Weights) -> tuple[Bits, Weights, Weights]:
    """Return (copies, n) which copies have the larger of a weight's two values, none if all agree; and these (n,)."""
    low, high = copies.min(axis=0), copies.max(axis=0)
    return (copies > (low + high) / 2) & _loud(high - low), low, high


def by_skewness(copies: Weights, gain: float) -> Weights:
    """Lean the average towards the minority of every hidden chip by `gain` amplitudes of the mark; below 0 away."""
    mean, deviations, amplitude = _deviations(copies)
    if amplitude == 0:
        return mean
    skewness = ((deviations / amplitude) ** 3).sum(axis=0)
    typical = float(np.sqrt(np.mean(skewness**2, dtype=np.float64)))
    if typical == 0:
        return mean
    leaned: Weights = mean + np.float32(gain * amplitude / typical) * skewness
    return leaned


def by_pursuit(copies: Weights, rng: np.random.Generator) -> Weights:
    """Decompose differences into columns, give each one colluder's value and take the rest from random copies."""
    mean, deviations, amplitude = _deviations(copies)
    if amplitude == 0:
        return mean
    state = rng.bit_generator.state
    columns = likely_columns(deviations, rng)
    rng.bit_generator.state = state
    picked = centred(columns)[np.arange(len(columns)), _colluder(columns.T, rng)]
    changed = np.empty_like(mean)
    for start in range(0, mean.size, _BLOCK):
        rows = deviations[:, start : start + _BLOCK].T.copy()
        unit, chosen, signs = pursue(rows, amplitude, columns)
        rest = rows[np.arange(len(rows)), rng.integers(len(copies), size=len(rows))]
        changed[start : start + _BLOCK] = unit * (signs * picked[chosen]).sum(axis=0) + rest
    return mean + changed


def likely_columns(deviations: Weights, rng: np.random.Generator) -> Bits:
    """Return (columns, copies): all up to sign for few copies; else one or two deviants, and cluster centres."""
    copies = len(deviations)
    if copies <= _ALL_COLUMNS:
        numbers = np.arange(1, 1 << (copies - 1))
        return (numbers[:, None] >> np.arange(copies) & 1).astype(bool)
    one = np.eye(copies, dtype=bool)
    two = np.array([one[a] | one[b] for a, b in combinations(range(copies), 2)])
    centres = cluster(deviations, rng)
    proposed = centres > (centres.min(axis=1, keepdims=True) + centres.max(axis=1, keepdims=True)) / 2
    found = np.concatenate([one, two, proposed])
    return np.unique(found ^ found[:, :1], axis=0)  # a column and its complement are one


def centred(columns: Bits) -> Weights:
    """Return (columns, copies): columns of -1 and +1 less their mean."""
    signs = 2 * columns.astype(np.float32) - 1
    less: Weights = signs - signs.mean(axis=1, keepdims=True)
    return less


def pursue(
    rows: Weights, amplitude: float, columns: Bits
) -> tuple[np.float32, npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Take likely columns out of rows (n, copies), in place, while that makes the rest smaller.

    Returns:
        The size of a column, and (rounds, n) which column was taken and with which sign, 0 for none.
    """
    # Symbols of arcsine bias vary by 1/2 around it, so a mark of 16 of them has amplitude 4 sqrt(1/2) columns.
    unit = np.float32(amplitude / np.sqrt(_OVERLAP / 2))
    atoms = unit * centred(columns)
    energy = (atoms**2).sum(axis=1)
    chosen = np.empty((_ROUNDS, len(rows)), dtype=np.int64)
    signs = np.empty((_ROUNDS, len(rows)), dtype=np.float32)
    for turn in range(_ROUNDS):
        match = rows @ atoms.T
        saved = 2 * np.abs(match) - energy  # squared length that taking the column removes
        chosen[turn] = saved.argmax(axis=1)
        at = (np.arange(len(rows)), chosen[turn])
        signs[turn] = np.sign(match[at]) * (saved[at] > 0)
        rows -= signs[turn][:, None] * atoms[chosen[turn]]
    return unit, chosen, signs


def _loud(width: Weights) -> Bits:
    """Tell which weights differ between copies by more than rounding and an approximate embedding leave behind."""
    return np.asarray(width > _QUIET * np.sqrt(np.mean(width**2, dtype=np.float64)))


def _deviations(copies: Weights) -> tuple[Weights, Weights, float]:
    """Return the mean copy (n,), what each differs from it (copies, n), and the amplitude of one copy's mark."""
    mean = copies.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviations = copies - mean
    power = float(np.mean(deviations**2, dtype=np.float64))
    return mean, deviations, float(np.sqrt(power * len(copies) / (len(copies) - 1)))


def _colluder(columns: Bits, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return (n,): one colluder for each column (copies, n); a column and its complement get the same."""
    salts = rng.integers(1 << 62, size=len(columns))
    mixed = np.zeros(columns.shape[1], dtype=np.int64)
    for member, salt in zip(columns ^ columns[0], salts, strict=True):
        mixed ^= np.where(member, salt, 0)
    return mixed % len(columns)


def cluster(deviations: Weights, rng: np.random.Generator) -> Weights:
    """Return centres (centres, copies) of unit rows, a row and its negative being one: spherical k-means."""
    changed = np.flatnonzero(np.abs(deviations).max(axis=0))
    rows = deviations[:, rng.choice(changed, min(_SAMPLE, changed.size), replace=False)].T
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    centres: Weights = rows[: min(_CENTRES, len(rows))].copy()
    for _ in range(_SWEEPS):
        match = rows @ centres.T
        nearest = np.abs(match).argmax(axis=1)
        signs = np.sign(match[np.arange(len(rows)), nearest])
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, rows * signs[:, None])
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 0, sums / np.maximum(norms, np.finfo(np.float32).tiny), centres)
    return centres

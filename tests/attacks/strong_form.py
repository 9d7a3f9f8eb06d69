"""What a coalition learns of spread's chips by comparing copies, and who is named afterwards; without training.

`python -m tests.attacks.strong_form` prints the table for 690 176 weights and 8 192 positions; overlaps may follow.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import helper

from onnxfp.artifact import Patch, open_artifact, profile, write_patched
from onnxfp.attacks import chip_learning, coalition, noise
from onnxfp.attacks.chip_learning import Rule
from onnxfp.domain import Claim, Floats, PublicClaim, Symbols, Weights
from onnxfp.keys.keystream import Keystream
from onnxfp.projections.chips import STRATA, TILE, Chips
from onnxfp.schemes.spread import Spread, SpreadKey
from onnxfp.suspect.opened import OpenedWeights
from onnxfp.verdict.betting import log10_e
from tests.attacks.small_models import model, save

THRESHOLD = 11.0  # log10 of 100 000 recipients over alpha 1e-6
_COLUMNS = 512
_CHIPS, _PAIRS = 32, 500  # of the membership statistics
_INNOCENTS = 1000


@dataclass(frozen=True)
class World:
    """A reference with one carrier of Gaussian weights, the copies of some colluders, and the owner's secrets."""

    file: Path
    reference: Weights
    copies: Weights
    public: PublicClaim[SpreadKey]
    words: Symbols
    innocent: Symbols

    @property
    def chips(self) -> Chips:
        return self.public.key.chips

    def members(self, chip: int) -> np.ndarray:
        """Return (n,) which weights belong to a chip."""
        alone = np.eye(1, self.chips.positions, chip)[0]
        return np.abs(self.chips.adjoint(alone)) > self.chips.scale / 2

    def named(self, suspect: Weights) -> tuple[Floats, float]:
        """Return log10 e of every colluder, and of the luckiest innocent."""
        written = self.file.with_name("suspect.onnx")
        with open_artifact(self.file) as reference:
            write_patched(reference, written, [Patch("w", 0, suspect)], force=True)
            with open_artifact(written) as opened:
                answers = OpenedWeights(opened, reference, {"w": opened.tensor("w")})
                responses = [answers.answer(probe) for probe in Spread().probes(self.public)]
        reading = Spread().read(self.public, responses)
        colluders, innocent = (log10_e(reading, self.public.codebook, w) for w in (self.words, self.innocent))
        return colluders, float(innocent.max())


def build(folder: Path, rows: int, positions: int, colluders: int, overlap: int, seed: int) -> World:
    scheme, keys = Spread(), Keystream(bytes([seed]) * 32)
    reference = np.random.default_rng(seed).standard_normal((rows, _COLUMNS), dtype=np.float32)
    file = save(folder / "reference.onnx", model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": reference}))
    with open_artifact(file) as artifact:
        facts = profile(artifact)
    options = scheme.options({"positions": positions, "overlap": overlap, "strength": 0.05})
    key = scheme.keygen(facts, {}, options, keys.derive("key"))
    codebook = key.code.codebook(keys.derive("codebook"), positions)
    public = PublicClaim(key, codebook)
    names = [f"recipient {index}" for index in range(colluders + _INNOCENTS)]
    words = key.code.words(keys.derive("words"), codebook, names)
    copies = np.empty((colluders, reference.size), dtype=np.float32)
    (segment,) = key.segments
    for copy, word in zip(copies, words, strict=False):
        (target,) = scheme.plan(Claim(public, word))
        unit = np.float32(target.strength * segment.gain * segment.spread)
        copy[:] = reference.reshape(-1) + unit * target.projection.min_norm_update(target.values)
    return World(file, reference.reshape(-1), copies, public, words[:colluders], words[colluders:])


# --- what is learnt --------------------------------------------------------------------------------------------


def area_under_curve(positive: Floats, negative: Floats) -> float:
    """Return the chance that a positive scores higher than a negative, ties counted half."""
    ordered = np.sort(negative)
    below, upto = np.searchsorted(ordered, positive, "left"), np.searchsorted(ordered, positive, "right")
    return float((below + upto).mean() / 2 / len(ordered))


def columns_learnt(world: World) -> float:
    """Share of weights whose whole column of symbols is read off right, up to sign; for overlap 1 only."""
    positions = np.arange(world.chips.positions)
    signs = np.sign(world.chips.adjoint(np.ones(len(positions))))
    chip = np.zeros(world.chips.size, dtype=np.int64)
    for bit in range(len(positions).bit_length() - 1):
        chip |= (world.chips.adjoint(2.0 * (positions >> bit & 1) - 1) * signs > 0).astype(np.int64) << bit
    true = world.words[:, chip].astype(bool)
    columns, _, _ = chip_learning.columns_of(world.copies)
    return float(np.mean(((true ^ true[0]) == (columns ^ columns[0])).all(axis=0)))


def same_chip(world: World, rng: np.random.Generator) -> dict[str, float]:
    """AUC of telling weights of one chip from others of its stratum, given one member; by five ways of looking."""
    deviations = world.copies - world.copies.mean(axis=0)
    members, others, chips = [], [], []
    stratum = np.arange(world.chips.size) // TILE % STRATA
    for chip in rng.choice(world.chips.positions, _CHIPS, replace=False):
        inside = world.members(chip)
        outside = np.flatnonzero(~inside & (stratum == chip // (world.chips.positions // STRATA)))
        members.append(rng.choice(np.flatnonzero(inside), (_PAIRS, 2)))
        others.append(np.stack([members[-1][:, 0], rng.choice(outside, _PAIRS)], axis=1))
        chips.append(np.full(_PAIRS, chip))
    yes, no, chip = np.concatenate(members), np.concatenate(others), np.concatenate(chips)
    distinct = yes[:, 0] != yes[:, 1]
    yes, no, chip = yes[distinct], no[distinct], chip[distinct]
    centred = world.words - world.words.mean(axis=0)

    def cosine(a: Weights, b: Weights) -> Floats:
        lengths = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
        return np.abs((a * b).sum(axis=0)) / np.maximum(lengths, 1e-30)

    common = _common_columns(deviations, rng)
    centres = chip_learning.cluster(deviations, rng)

    def same_cluster(pairs: np.ndarray) -> Floats:
        first, second = (np.abs(centres @ deviations[:, side]).argmax(axis=0) for side in pairs.T)
        return (first == second).astype(np.float64)

    return {
        "correlation": area_under_curve(*(cosine(deviations[:, p[:, 0]], deviations[:, p[:, 1]]) for p in (yes, no))),
        "same column": area_under_curve(*(_same_column(world.copies, p) for p in (yes, no))),
        "clusters": area_under_curve(same_cluster(yes), same_cluster(no)),
        "pursuit": area_under_curve(common(yes), common(no)),
        "column given": area_under_curve(*(cosine(deviations[:, p[:, 1]], centred[:, chip]) for p in (yes, no))),
    }


def _same_column(copies: Weights, pairs: np.ndarray) -> Floats:
    a, b = (chip_learning.columns_of(copies[:, side])[0] for side in pairs.T)
    return np.abs((a == b).mean(axis=0) - 0.5)


def _common_columns(deviations: Weights, rng: np.random.Generator):
    columns = chip_learning.likely_columns(deviations, rng)
    amplitude = float(np.sqrt(np.mean(deviations**2) * len(deviations) / (len(deviations) - 1)))

    def common(pairs: np.ndarray) -> Floats:
        found = [chip_learning.pursue(deviations[:, side].T.copy(), amplitude, columns)[1:] for side in pairs.T]
        (first, signs), (second, other_signs) = found
        same = (first[:, None] == second[None]) * signs[:, None] * other_signs[None]
        return np.abs(same.sum(axis=(0, 1)))

    return common


def lean_towards_truth(world: World) -> float:
    """Correlation, over weights, of what skewness adds with what full knowledge of the chips would add."""
    symbols = 2.0 * world.words - 1
    mean = symbols.mean(axis=0)
    wanted = world.chips.min_norm_update(np.where(np.abs(mean) == 1, 0, -np.sign(mean) - mean) * (mean != 0))
    added = chip_learning.by_skewness(world.copies, 1.0) - world.copies.mean(axis=0)
    return float(np.corrcoef(wanted, added)[0, 1])


# --- who is named ----------------------------------------------------------------------------------------------


def suspects(world: World, gains: tuple[float, ...], rng: np.random.Generator) -> Iterator[tuple[str, Weights]]:
    """Yield what the coalition may deliver."""
    copies = world.copies
    yield "average", coalition.average(copies, rng)
    yield "random pick per weight", coalition.random_pick(copies, rng)
    yield "learned:pick", chip_learning.learn(copies, Rule.PICK, 1.0, rng)
    exact = chip_learning.shows_two_levels(copies)
    mark = float(np.std(copies[0] - world.reference))
    for rule in (Rule.MINORITY, Rule.MAJORITY):
        for gain in gains[:1] if exact else gains:
            yield f"learned:{rule.value}:{gain:g}", chip_learning.learn(copies, rule, gain, rng)
    for gain in gains:
        mean = coalition.average(copies, rng)
        yield f"average + noise {gain:g} marks", noise.add_noise(mean, gain * mark / float(mean.std()), rng)


def report(rows: int, positions: int, overlaps: tuple[int, ...], crowds: tuple[int, ...]) -> Iterator[str]:
    for overlap in overlaps:
        for colluders in crowds:
            with tempfile.TemporaryDirectory() as folder:
                yield from _story(build(Path(folder), rows, positions, colluders, overlap, seed=1), overlap)


def _story(world: World, overlap: int) -> Iterator[str]:
    rng, count = np.random.default_rng(2), len(world.copies)
    values = np.linalg.svd(np.cov(world.copies - world.copies.mean(axis=0)), compute_uv=False)
    yield f"\noverlap {overlap}, {count} copies; variances of factors {values[0]:.3g} .. {values[-2]:.3g}"
    if overlap == 1:
        yield f"  columns learnt exactly {columns_learnt(world):.3f}"
    yield f"  AUC { {name: round(value, 3) for name, value in same_chip(world, rng).items()} }"
    yield f"  lean towards truth {lean_towards_truth(world):.3f}"
    for name, suspect in suspects(world, (1.0, 2.0, 4.0, 8.0), rng):
        e, innocent = world.named(suspect)
        named = f"{int((e >= THRESHOLD).sum()):3d} of {count}"
        yield f"  {name:26s} {named}  log10 e {e.min():7.1f} .. {e.max():7.1f}  best innocent {innocent:5.1f}"


if __name__ == "__main__":
    for line in report(1348, 8192, tuple(map(int, sys.argv[1:])) or (1, 16), (8, 30)):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

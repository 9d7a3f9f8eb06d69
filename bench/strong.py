"""The strong form of collusion: compare copies, learn what can be learnt of the chips, lean. ``-m bench.strong`` alone.

Fashion-MNIST CNN at the default strength, 8 192 positions, N = 100 000, alpha = 1e-6. What the coalition learns is
measured on one large matrix by `tests.attacks.strong_form`, the same code that the attack's tests use.
"""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import NAMES, Loaded, Marked, fresh_key
from bench.coalitions import INNOCENTS, THRESHOLD
from bench.results import kept, markdown
from bench.train import accuracy, fashion_cnn
from onnxfp.artifact import Patch, open_artifact, write_patched
from onnxfp.attacks.chip_learning import Rule, learn
from onnxfp.domain import Weights
from tests.attacks import strong_form

CROWDS = (8, 12, 16, 20, 30)
LEANS = (1.0, 2.0, 4.0, 8.0)
CALIBRATED = (("strength", 0.16),)


def measure() -> dict[str, Any]:
    """Measure everything that is not kept yet."""
    named = {
        str(size): {
            **kept(f"strong-{size}", lambda size=size: _named(size)),
            **kept(f"strong-noise-{size}", lambda size=size: _noisy(size)),
        }
        for size in CROWDS
    }
    learnt = {
        f"{overlap} chips to a weight, {copies} copies": kept(
            f"strong-learnt-{overlap}-{copies}", lambda overlap=overlap, copies=copies: _learnt(overlap, copies)
        )
        for overlap in (1, 16)
        for copies in (8, 30)
    }
    strong = {str(size): kept(f"strong-calibrated-{size}", lambda size=size: _calibrated(size)) for size in (16, 30)}
    return {"named": named, "learnt": learnt, "calibrated": strong}


def _calibrated(size: int) -> dict[str, dict[str, float]]:
    """The same against a mark as strong as the model's accuracy allows: what `register --data` finds for this model."""
    return {**_named(size, CALIBRATED), **_noisy(size, CALIBRATED)}


def _named(size: int, options: tuple[tuple[str, float], ...] = ()) -> dict[str, dict[str, float]]:
    marked = Marked(Loaded.of(fashion_cnn(0)), fresh_key(0), options=options)
    copies = np.stack([marked.copy(name) for name in NAMES[:size]])
    suspects = {
        f"{rule.value}, lean {lean:g}": (rule, lean) for lean in LEANS for rule in (Rule.MINORITY, Rule.MAJORITY)
    }
    suspects = {"pick per learnt chip": (Rule.PICK, 1.0), **suspects}
    return {
        title: _judged(marked, _leaned(marked.loaded, copies, rule, lean), size)
        for title, (rule, lean) in suspects.items()
    }


def _noisy(size: int, options: tuple[tuple[str, float], ...] = ()) -> dict[str, dict[str, float]]:
    """The same without any learning: the average, and plain noise of as many marks."""
    marked = Marked(Loaded.of(fashion_cnn(0)), fresh_key(0), options=options)
    average = np.mean([marked.copy(name) for name in NAMES[:size]], axis=0, dtype=np.float64).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(average.size, dtype=np.float32) * marked.amplitude
    return {f"average + noise of {lean:g} marks": _judged(marked, average + lean * noise, size) for lean in LEANS}


def _judged(marked: Marked, suspect: Weights, size: int) -> dict[str, float]:
    scores = marked.log10_e(suspect.astype(np.float32), NAMES[: size + INNOCENTS])
    return {
        "named": int(np.sum(scores[:size] >= THRESHOLD)),
        "innocent": float(scores[size:].max()),
        "accuracy": _accuracy(marked.loaded, suspect.astype(np.float32)),
    }


def _leaned(loaded: Loaded, copies: Weights, rule: Rule, lean: float) -> Weights:
    """Let the coalition work carrier by carrier; the same generator state keeps its choices alike."""
    edges = np.cumsum([0] + [record.size for record in loaded.records])
    parts = [learn(copies[:, start:stop], rule, lean, np.random.default_rng(1)) for start, stop in pairwise(edges)]
    return np.concatenate(parts)


def _accuracy(loaded: Loaded, weights: Weights) -> float:
    values = loaded.artifact(weights).values
    with tempfile.TemporaryDirectory() as folder, open_artifact(fashion_cnn(0)) as source:
        path = Path(folder) / "suspect.onnx"
        write_patched(source, path, [Patch(name, 0, part) for name, part in values.items()])
        return accuracy(path)


def _learnt(overlap: int, copies: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        world = strong_form.build(Path(folder), 337, 8192, copies, overlap, seed=1)
        found = dict(strong_form.same_chip(world, np.random.default_rng(2)))
        found["lean against truth (correlation)"] = strong_form.lean_towards_truth(world)
        if overlap == 1:
            found["columns read off exactly (share)"] = strong_form.columns_learnt(world)
    return {name: float(value) for name, value in found.items()}


def table() -> str:
    """Return the tables in Markdown."""
    found = measure()
    attacks = list(next(iter(found["named"].values())))
    rows = [
        (
            attack,
            *(f"{crowd[attack]['named']}/{size}" for size, crowd in found["named"].items()),
            f"{min(crowd[attack]['accuracy'] for crowd in found['named'].values()):.2%}",
            f"{max(crowd[attack]['innocent'] for crowd in found['named'].values()):.1f}",
        )
        for attack in attacks
    ]
    header = ("attack", *(f"named of {size}" for size in found["named"]), "lowest accuracy", "best innocent log10 e")
    ways = sorted({way for learnt in found["learnt"].values() for way in learnt})
    learnt = [
        (way, *(f"{column[way]:.3f}" if way in column else "" for column in found["learnt"].values())) for way in ways
    ]
    strong = [
        (
            attack,
            *(
                f"{crowd[attack]['named']}/{size}, {crowd[attack]['accuracy']:.2%}"
                for size, crowd in found["calibrated"].items()
            ),
        )
        for attack in attacks
    ]
    return "\n\n".join(
        (
            markdown(header, rows),
            "The same against strength 0.16, which `register --data` finds for this model:",
            markdown(("attack", *(f"named of {size}, accuracy left" for size in found["calibrated"])), strong),
            "What the coalition learns; two weights share a chip, AUC unless said otherwise, 0.5 is chance:",
            markdown(("way of looking", *found["learnt"]), learnt),
        )
    )


if __name__ == "__main__":
    print(table())

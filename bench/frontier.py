"""Adversarial frontier stitching, another scheme to compare with, and what filters leave of it.

    python -m bench.frontier                  Fashion-MNIST, seeds 0 1 2
    python -m bench.frontier mnist 0          these

Paper: Le Merrer, Perez, Trédan, "Adversarial frontier stitching for remote neural network watermarking", arXiv
1711.01894 (2017), Neural Computing and Applications 32 (2020).

A key set of 100 images x + eps sign(grad loss(x)): 50 that the model then gets wrong (true adversaries) and 50 that it
still gets right (false adversaries). The model is fine-tuned on its training images and the keys until it answers all
keys with the true classes. A suspect is said to be ours when it errs on fewer than theta keys; theta is the largest
number for which fewer than theta errors have probability below 0.05 if each key is answered wrongly with 1/2: 42 of
100.

Departs: written from secondary accounts of the paper, not from its code. eps is 0.1, one of the values that are told of
the paper (0.025, 0.1, 0.25), on images of 0..1, clipped to that range; the sets are Fashion-MNIST and others, not MNIST
alone; the networks are the zoo's; fine-tuning stops after the first epoch that leaves no error, or after 10 epochs, has
its own rate, a quarter of keys in each batch, and nothing is dropped. The paper's null is about a model that answers
each key right or wrong by a coin; models that were trained alike are none, so their errors are told beside. Keys bear
the true classes, so whatever takes the adversarial change away raises the hits of every model: hits of the model before
stitching stand beside the others.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom
from torch.nn import functional

from bench import autoencoder, stolen, zoo
from bench.images import data
from bench.results import kept, markdown, spread
from bench.train import CACHE
from fixtures import cnn
from onnxfp.suspect.session import open_session

LEVEL = 0.05
INNOCENT = {"fashion_mnist": (zoo.fashion_independent, 20)}
"""Models of the same task that nobody stitched, and how many there are."""


@dataclass(frozen=True)
class Recipe:
    """How keys are made and taught."""

    eps: float = 0.1
    keys: int = 100
    candidates: int = 5_000
    """Training images that keys are made of, the first ones."""
    images: int = 30_000
    """Training images that are taught beside the keys, the first ones."""
    epochs: int = 10
    rate: float = 0.005
    batch: int = 96
    beside: int = 32
    """Keys in each batch, beside the images."""


RECIPE = Recipe()


class Stitched(NamedTuple):
    """A model that bears the mark."""

    path: Path
    keys: NDArray[np.float32]
    """(keys, channels, rows, columns): true adversaries first."""
    labels: NDArray[np.int64]
    """Their true classes."""


def stitched(name: str, seed: int) -> Stitched:
    """The zoo's model for an image set, stitched; from the cache if it is there."""
    base = autoencoder.MODEL_OF[name](seed)
    made_from = hashlib.sha256(repr((RECIPE, base.name)).encode()).hexdigest()[:8]
    path = CACHE / f"frontier-{name}-{seed}-{made_from}.onnx"
    file = path.with_suffix(".npz")
    if not path.exists():
        keys, labels = key_set(base, name, seed)
        with file.open("wb") as opened:
            np.savez(opened, keys=keys, labels=labels)
        part = path.with_suffix(".part.onnx")
        _stitch(base, part, (keys, labels), name, seed)
        part.replace(path)
    with np.load(file) as arrays:
        return Stitched(path, arrays["keys"], arrays["labels"])


def key_set(base: Path, name: str, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Half true and half false adversaries of a model, drawn from those that there are, with their true classes."""
    split, rng = data(name), np.random.default_rng(seed)
    images, classes = split.x_train[: RECIPE.candidates], split.y_train[: RECIPE.candidates]
    right = cnn.answers(base, images).argmax(axis=1) == classes
    moved = _moved(base, images, classes)
    fooled = cnn.answers(base, moved).argmax(axis=1) != classes
    chosen = []
    for kind in (fooled & right, ~fooled & right):
        if np.count_nonzero(kind) < RECIPE.keys // 2:
            raise RuntimeError(f"{base.name}: expected {RECIPE.keys // 2} of each kind, found {np.count_nonzero(kind)}")
        chosen.append(rng.choice(np.flatnonzero(kind), RECIPE.keys // 2, replace=False))
    rows = np.concatenate(chosen)
    return moved[rows], classes[rows]


def theta(keys: int) -> int:
    """The paper's threshold: fewer errors than this have probability below 0.05 under its null."""
    return int(np.count_nonzero(binom.cdf(np.arange(keys), keys, 0.5) < LEVEL))


def _moved(base: Path, images: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float32]:
    graph, found = stolen.graph_at(base), []
    for at in range(0, len(images), 500):
        block = torch.from_numpy(images[at : at + 500]).clone().requires_grad_()
        loss = functional.cross_entropy(graph(block)[0], torch.from_numpy(classes[at : at + 500]), reduction="sum")
        (slope,) = torch.autograd.grad(loss, block)
        found.append((block.detach() + RECIPE.eps * slope.sign()).clamp(0, 1).numpy())
    return np.concatenate(found)


def _stitch(
    base: Path, destination: Path, taught: tuple[NDArray[np.float32], NDArray[np.int64]], name: str, seed: int
) -> None:
    split, graph = data(name), stolen.graph_at(base)
    images, classes = (torch.from_numpy(array[: RECIPE.images]) for array in (split.x_train, split.y_train))
    keys, labels = (torch.from_numpy(array) for array in taught)
    optimiser = torch.optim.SGD(list(graph.weights.values()), RECIPE.rate, momentum=0.9, nesterov=True)
    draw = torch.Generator().manual_seed(seed)
    for epoch in range(RECIPE.epochs):
        for rows in torch.randperm(len(images), generator=draw).split(RECIPE.batch):
            some = torch.randperm(len(keys), generator=draw)[: RECIPE.beside]
            batch = torch.cat([images[rows], keys[some]])
            optimiser.zero_grad()
            functional.cross_entropy(graph(batch)[0], torch.cat([classes[rows], labels[some]])).backward()
            optimiser.step()
        with torch.no_grad():
            errors = int((graph(keys)[0].argmax(dim=1) != labels).sum())
        print(f"{base.stem}: epoch {epoch + 1}, {errors} errors on keys", file=sys.stderr, flush=True)
        if not errors:
            break
    stolen.write(graph, base, destination)


# --- measuring --------------------------------------------------------------------------------------------------------


def measured(name: str, seed: int) -> dict[str, Any]:
    """Accuracy, errors on keys, and both behind every filter; kept."""
    made_from = hashlib.sha256(repr((autoencoder.FILTERS, autoencoder.DETECTORS, autoencoder.RECIPE)).encode())
    found = stitched(name, seed)
    return kept(f"{found.path.stem}-{made_from.hexdigest()[:8]}", lambda: _measured(found, name, seed))


def _measured(found: Stitched, name: str, seed: int) -> dict[str, Any]:
    split, base = data(name), autoencoder.MODEL_OF[name](seed)
    made, count = INNOCENT.get(name, (None, 0))
    behind = {}
    with open_session(found.path) as session, open_session(base) as before:
        for text, wrap in autoencoder.modifications(name).items():
            suspect = wrap(session)
            errors = [_errors(autoencoder.labels(one, found.keys), found.labels) for one in (suspect, wrap(before))]
            right = np.mean(autoencoder.labels(suspect, split.x_test) == split.y_test)
            behind[text] = (*errors, float(right))
    return {
        "before": zoo.accuracy(base, split),
        "after": zoo.accuracy(found.path, split),
        "innocent": [
            _errors(cnn.answers(made(other), found.keys).argmax(axis=1), found.labels) for other in range(count)
        ],
        "behind": behind,
    }


def _errors(answers: NDArray[Any], classes: NDArray[np.int64]) -> int:
    return int(np.count_nonzero(answers != classes))


def table(name: str, seeds: list[int]) -> str:
    """Hits behind every filter, with the paper's decision, as a Markdown table; and what other models answer."""
    all_of_them, most = [measured(name, seed) for seed in seeds], RECIPE.keys
    limit = theta(most)
    rows = []
    for text in all_of_them[0]["behind"]:
        errors, before, right = zip(*(one["behind"][text] for one in all_of_them), strict=True)
        row = [text, spread([100 * share for share in right], 2)]
        for wrong in (errors, before):
            row += [
                spread([float(most - one) for one in wrong]),
                f"{sum(one < limit for one in wrong)} of {len(seeds)}",
            ]
        rows.append(tuple(row))
    lines = [f"{name}: eps {RECIPE.eps}, theta {limit} of {most}"]
    for seed, one in zip(seeds, all_of_them, strict=True):
        innocent = one["innocent"]
        lines.append(
            f"seed {seed}: accuracy {one['before']:.2%} -> {one['after']:.2%}; errors on keys of independent models "
            f"{spread([float(wrong) for wrong in innocent]) if innocent else '-'}, "
            f"called ours {sum(wrong < limit for wrong in innocent)} of {len(innocent)}"
        )
    heads = ("filter", "accuracy, %", f"keys hit of {most}", "called ours", "hit by the model before", "called ours")
    return "\n".join(lines) + "\n\n" + markdown(heads, rows)


def main() -> None:
    torch.set_num_threads(1)
    name, *seeds = sys.argv[1:] or ["fashion_mnist", "0", "1", "2"]
    print(table(name, [int(seed) for seed in seeds]), flush=True)


if __name__ == "__main__":
    main()

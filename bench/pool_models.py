"""Models for the benchmarks of pools: protected ones, their unprotected twins, shadow models and strangers.

``-m bench.pool_models fashion-0`` plans and trains one protected model and its twin. Of each data set the first rows
are the candidates; shadow models and most strangers are trained on as many of the rows behind them, and whoever steals
a model has the last ones.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench import zoo
from bench.images import Split, data
from bench.train import CACHE
from onnxfp.workflows.plan_pools import Planning, plan_pools
from onnxfp.workflows.vault import create_vault, open_vault

AT = "2026-01-01T00:00:00+00:00"
PAIRS = 10_000
SHADOW = 100  # number of the first stranger that is the owner's own
STRANGE = 8  # epochs of all other strangers


@dataclass(frozen=True)
class Kind:
    """One data set, how it is divided, and how networks are trained on it."""

    recipe: zoo.Recipe
    candidates: int
    """Rows of which a plan chooses."""
    taken: int
    """Rows that a thief has, the last ones."""
    trained: int
    """Rows that a model is trained on that knows no plan: about as many as one that does."""
    shadows: int = 3


KINDS = {
    "mnist": Kind(replace(zoo.MNIST, epochs=16), 25_000, 10_000, 15_000),
    "fashion": Kind(replace(zoo.FASHION, epochs=20), 25_000, 10_000, 15_000),
    "cifar10": Kind(replace(zoo.CIFAR10, epochs=20), 22_000, 8_000, 12_000),
}
PLANNED = [("fashion", seed) for seed in range(3)] + [("mnist", seed) for seed in range(3)] + [("cifar10", 0)]
CALLED = {"mnist": "MNIST, LeNet", "fashion": "Fashion-MNIST, plain CNN", "cifar10": "CIFAR-10, ResNet-20"}


@dataclass(frozen=True)
class Subject:
    """One protected model: its plan, and what it is compared with."""

    task: str
    seed: int

    @property
    def kind(self) -> Kind:
        """Its data set."""
        return KINDS[self.task]

    @property
    def folder(self) -> Path:
        """Where vault, candidate data and plan are."""
        return CACHE / "pools" / f"{self.task}-{self.seed}"

    @property
    def split(self) -> Split:
        """Its data set's images."""
        return data(zoo.DATA_OF[self.task])

    @property
    def candidates(self) -> Path:
        """The rows of which the plan chooses, as the owner has them."""
        path = CACHE / "pools" / f"{self.task}-candidates.npz"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            rows = self.kind.candidates
            np.savez(path, inputs=self.split.x_train[:rows], labels=self.split.y_train[:rows].astype(np.int64))
        return path

    @property
    def plan(self) -> Path:
        """The rows to train on, from a vault of its own."""
        path = self.folder / "plan.npz"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / "vault").exists():
                create_vault(self.folder / "vault", None)
            with open_vault(self.folder / "vault", None) as vault:
                plan_pools(vault, Planning(self.candidates, path, AT, {"positions": PAIRS}), lambda line: None)
        return path

    @property
    def protected(self) -> Path:
        """Trained as the plan says."""
        with np.load(self.plan) as arrays:
            return self.kind.recipe.trained(f"pools-{self.task}-protected", self.seed, arrays["train_rows"])

    @property
    def twin(self) -> Path:
        """Trained on as many of the candidates, chosen without a plan."""
        with np.load(self.plan) as arrays:
            count = len(arrays["train_rows"])
        rows = np.random.default_rng(self.seed).permutation(self.kind.candidates)[:count]
        return self.kind.recipe.trained(f"pools-{self.task}-twin", self.seed, rows)


def shadows(task: str) -> list[Path]:
    """Models of the owner's that were trained on other rows than the candidates."""
    return [stranger(task, SHADOW + number, False) for number in range(KINDS[task].shadows)]


def mixed(task: str) -> tuple[Path, np.ndarray]:
    """A model of the owner's that was trained on half of the candidates, and those rows."""
    rows = np.sort(np.random.default_rng(7).permutation(KINDS[task].candidates)[: KINDS[task].candidates // 2])
    return KINDS[task].recipe.trained(f"pools-{task}-mixed", 7, rows), rows


def stranger(task: str, number: int, overlapping: bool) -> Path:
    """A model of somebody's who has rows behind the candidates, or any that no thief has."""
    kind = KINDS[task]
    count = len(data(zoo.DATA_OF[task]).y_train) - kind.taken
    first = 0 if overlapping else kind.candidates
    rows = first + np.random.default_rng(1000 + number).permutation(count - first)[: kind.trained]
    recipe = kind.recipe if number >= SHADOW else replace(kind.recipe, epochs=STRANGE)
    return recipe.trained(f"pools-{task}-{'overlapping' if overlapping else 'stranger'}", number, rows)


def main() -> None:
    """Train what is named."""
    import torch

    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        task, what = name.rsplit("-", 1)
        if what == "shadows":
            made = [*shadows(task), mixed(task)[0]]
        elif what in ("strangers", "overlapping"):
            made = [stranger(task, number, what == "overlapping") for number in range(10)]
        else:
            one = Subject(task, int(what))
            made = [one.protected, one.twin]
        for path in made:
            print(f"{path.name}: {zoo.accuracy(path, data(zoo.DATA_OF[task])):.2%}", flush=True)


if __name__ == "__main__":
    main()

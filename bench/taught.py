"""Zoo models that are marked through the library's own `mark`, each in a vault of its own, and kept.

Marking teaches from the first training images and holds its fidelity budget against the last of them; no held-out test
image is seen.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench import zoo
from bench.train import CACHE
from onnxfp.embed.task import Tuning
from onnxfp.workflows.mark import Marking, mark
from onnxfp.workflows.vault import Vault, create_vault, open_vault

AT = "2026-01-01T00:00:00+00:00"
VALIDATED = 5_000  # training images, the last ones, that hold the budget


@dataclass(frozen=True)
class Lesson:
    """How one data set's models are marked."""

    data: str
    images: int
    """Training images that are used, the first ones."""
    tuning: Tuning
    """Its budget is wider than the limit: models know their own training images better than others, and forget that."""
    limit: float
    """Share of accuracy on test images that may be lost."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the scheme, beside what the kind of trigger says."""


@dataclass(frozen=True)
class Way:
    """What a model is marked with."""

    scheme: str
    options: tuple[tuple[str, Any], ...] = ()
    pictures: str = ""
    """The owner's own pictures: an .npz in the cache; empty for none."""

    @property
    def tuning(self) -> dict[str, Any]:
        """What of the data set's usual tuning is otherwise."""
        return {}


_TUNING = Tuning(margin=2.0, truth=1.0, precision="bf16")  # said here, so that another default changes no result
LESSONS = {
    "mnist": Lesson("mnist", 20_000, replace(_TUNING, loss=0.006, share=0.25, rate=0.02), 0.003),
    "fashion": Lesson("fashion_mnist", 55_000, replace(_TUNING, epochs=4, rate=0.01, share=0.15, loss=0.008), 0.003),
    "wide": Lesson("mnist", 10_000, replace(_TUNING, rate=0.01, share=0.15, loss=0.01), 0.01),
    "lenet": Lesson("fashion_mnist", 55_000, replace(_TUNING, epochs=4, rate=0.01, share=0.15, loss=0.008), 0.002),
    "cifar10": Lesson("cifar10", 45_000, replace(_TUNING, rate=0.015, share=0.2, loss=0.03), 0.005),
}


BUDGETS = {("fashion", "handed"): 0.015}  # of those that learn so much beside that the usual one is missed


@dataclass(frozen=True)
class Subject:
    """One zoo model with one kind of trigger, or marked in another way."""

    task: str
    seed: int
    kind: str
    other: Way | None = None
    """Where it is not marked with triggers of that kind."""

    @property
    def way(self) -> Way:
        """What it is marked with."""
        kind, _, positions = self.kind.partition("/")
        chosen = {"triggers": kind, **({"positions": int(positions)} if positions else {}), **self.lesson.options}
        return self.other or Way("zhang", tuple(chosen.items()))

    @property
    def name(self) -> str:
        """As typed."""
        return f"{self.task}-{self.seed}-{self.kind}"

    @property
    def lesson(self) -> Lesson:
        """How it is marked."""
        usual = LESSONS[self.task]
        budget = BUDGETS.get((self.task, self.kind), usual.tuning.loss)
        other = self.other.tuning if self.other else {}
        return replace(usual, tuning=replace(usual.tuning, **{"loss": budget, **other}))

    @property
    def split(self) -> zoo.Split:
        """Its data."""
        return zoo.data(self.lesson.data)

    @property
    def unmarked(self) -> Path:
        """The model before."""
        return zoo.MODELS[self.task](self.seed)

    @cached_property
    def folder(self) -> Path:
        """Where vault and marked model are kept; another recipe is another folder."""
        other = () if self.other is None else (self.other,)
        recipe = repr((self.lesson, self.unmarked.name, VALIDATED, *other))
        made_from = hashlib.sha256(recipe.encode()).hexdigest()[:8]
        return CACHE / "taught" / f"{self.name.replace('/', '.')}-{made_from}"

    @property
    def marked(self) -> Path:
        """The marked model; made if it is not there, in a vault of its own with a fresh key.

        Raises:
            FidelityError: the mark did not take within the budget.
        """
        path = self.folder / "marked.onnx"
        if not path.exists():
            self._mark(path)
        return path

    @contextmanager
    def vault(self) -> Iterator[Vault]:
        """The owner's vault."""
        with open_vault(self.folder / "vault", None) as vault:
            yield vault

    @property
    def made(self) -> dict[str, Any]:
        """What `mark` said of it."""
        self.marked  # noqa: B018
        found: dict[str, Any] = json.loads((self.folder / "made.json").read_text())
        return found

    def _mark(self, path: Path) -> None:
        if not (self.folder / "vault").exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            create_vault(self.folder / "vault", None)
        split, images = self.split, self.lesson.images
        train, held = slice(0, images), slice(len(split.x_train) - VALIDATED, None)
        for name, rows in (("train", train), ("held", held)):
            np.savez(self.folder / f"{name}.npz", inputs=split.x_train[rows], labels=split.y_train[rows])
        files = {name: self.folder / f"{name}.npz" for name in ("train", "held")}
        way, pictures = self.way, CACHE / self.way.pictures if self.way.pictures else None
        request = Marking(
            self.unmarked,
            way.scheme,
            dict(way.options),
            files["train"],
            path,
            AT,
            val=files["held"],
            images=pictures,
            tuning=self.lesson.tuning,
        )
        began = time.monotonic()
        try:
            with self.vault() as vault:
                made = mark(vault, request, lambda line: print(f"{self.name}: {line}", file=sys.stderr, flush=True))
        finally:
            for file in files.values():
                file.unlink()
        told = {name: getattr(made, name) for name in ("epochs", "accuracy_before", "accuracy_after")}
        told |= {"hits": dict(made.hits)}
        told |= {"hits_taught": made.hits.get("taught"), "hits_held_out": made.hits.get("held out")}
        told |= {"seconds": time.monotonic() - began}
        (self.folder / "made.json").write_text(json.dumps(told, indent=1))

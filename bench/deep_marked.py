"""Zoo models that are prepared for copies whose answers differ, and copies of them. ``-m bench.deep_marked fashion-0``.

Everything is the library's own: `mark` prepares a model in a vault of its own, `issue` writes the copies.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench import zoo
from bench.results import is_kept, kept, markdown, spread
from bench.taught import AT, Subject, Way
from onnxfp.schemes.catalogue import scheme_named
from onnxfp.workflows.issue import Issuing, issue

SCHEME = "deeptrace"
ALPHA = 1e-6
RECIPIENTS = 100_000
THRESHOLD = float(np.log10(RECIPIENTS / ALPHA))
MEASURED = 10  # copies on which accuracy is told
PLANNED = [("fashion", seed) for seed in range(3)] + [("lenet", seed) for seed in range(3)] + [("cifar10", 0)]
BUDGETS = {"fashion": 0.012, "cifar10": 0.02}  # on images that the network was trained on, and knows better than others
EXACTLY = ("fashion",)  # in single precision, as where nobody says otherwise; the others in bf16, which is faster
NOISE = {"lenet": (("deviation", 0.35),), "cifar10": (("deviation", 0.35),)}  # more than is usual
MANY = ("lenet", 0, 125)  # as many triggers as this model bears
LIMITS = {"fashion": 0.2, "lenet": 0.2, "cifar10": 0.5}  # points of accuracy that may go in total
CALLED = {"fashion": "plain CNN", "lenet": "LeNet", "cifar10": "ResNet-20"}


@dataclass(frozen=True)
class Prepared(Way):
    """How a model is prepared: the scheme's own tuning, with a budget on images that the model was trained on."""

    loss: float = 0.008

    @property
    def tuning(self) -> dict[str, Any]:
        """What differs from the data set's usual tuning."""
        return {
            "margin": 3.0,
            "precision": "bf16",
            "epochs": 4,
            "loss": self.loss,
            **scheme_named(SCHEME).tuning,
        }


@dataclass(frozen=True)
class Exact(Prepared):
    """The same in single precision, as it is where nobody says otherwise."""

    @property
    def tuning(self) -> dict[str, Any]:
        """What differs from the data set's usual tuning."""
        return {**super().tuning, "precision": "fp32"}


def subject(task: str, seed: int, positions: int = 0) -> Subject:
    """One zoo model that is prepared, with the usual number of triggers or another."""
    options = (*NOISE.get(task, ()), *((("positions", positions), ("labels", 4)) if positions else ()))
    way = (Exact if task in EXACTLY else Prepared)(SCHEME, options, loss=BUDGETS.get(task, 0.008))
    return Subject(task, seed, f"{SCHEME}{positions or ''}", way)


def subjects(*, whole: bool = True) -> Iterator[Subject]:
    """Those that are planned, or those of them that are there."""
    for task, seed in PLANNED:
        one = subject(task, seed)
        if whole or (one.folder / "made.json").exists():
            yield one


@contextmanager
def copies(one: Subject, names: Sequence[str]) -> Iterator[list[Path]]:
    """Issue copies to some recipients; they are gone afterwards, their entries in the ledger stay."""
    reference = one.marked
    with TemporaryDirectory() as folder, one.vault() as vault:
        paths = [Path(folder) / f"{number}.onnx" for number in range(len(names))]
        for name, path in zip(names, paths, strict=True):
            issue(vault, Issuing(reference, name, path, AT))
        yield paths


def measure(one: Subject) -> dict[str, Any]:
    """Accuracy of the reference, of the prepared model and of copies, and how many triggers copies answer right."""
    return dict(kept(f"deeptrace-marked-{one.folder.name}", lambda: _measured(one)))


def _measured(one: Subject) -> dict[str, Any]:
    split = one.split
    names = [f"measured {number}" for number in range(MEASURED)]
    with copies(one, names) as paths:
        issued = [zoo.accuracy(path, split) for path in paths]
    made = one.made
    return {
        "reference": zoo.accuracy(one.unmarked, split),
        "prepared": zoo.accuracy(one.marked, split),
        "issued": issued,
        "hits": made["hits"]["triggers"],
        "seconds": made["seconds"],
        "epochs": made["epochs"],
    }


def table(*, whole: bool) -> str:
    """One row per model."""
    header = (
        "model",
        "triggers",
        "reference",
        "prepared",
        f"{MEASURED} copies",
        "lost by a copy",
        "limit",
        "prepared in",
    )
    rows: list[tuple[str, ...]] = []
    for one in subjects(whole=whole):
        if not whole and not is_kept(f"deeptrace-marked-{one.folder.name}"):
            continue
        run = measure(one)
        lost = [100 * (run["reference"] - value) for value in run["issued"]]
        mean, limit = sum(lost) / len(lost), LIMITS[one.task]
        rows.append(
            (
                f"{CALLED[one.task]}, seed {one.seed}",
                capacity(one),
                f"{100 * run['reference']:.2f} %",
                f"{100 * run['prepared']:.2f} %",
                f"{spread([100 * value for value in run['issued']], 2)} %",
                f"{mean:.2f} ({max(lost):.2f} at most)",
                f"{limit} {'met' if max(lost) <= limit else 'met on average' if mean <= limit else '**missed**'}",
                f"{run['seconds']:.0f} s, {run['epochs']} epochs",
            )
        )
    return markdown(header, rows)


def capacity(one: Subject) -> str:
    """How many triggers a model has, with how many answers each."""
    from onnxfp.workflows.channels import RECIPIENT
    from onnxfp.workflows.judge import registered_references

    with one.vault() as vault:
        for reference in registered_references(vault):
            for channel in reference.channels:
                if (channel.role, channel.scheme) == (RECIPIENT, SCHEME):
                    key = reference.draw(vault, channel).public.key
                    return f"{key.positions} with {key.code.allowed.allowed.sum(axis=1).max()} answers"
    return "none"


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        task, seed = name.rsplit("-", 1)
        print(measure(subject(task, int(seed))), flush=True)
    print(table(whole=False))

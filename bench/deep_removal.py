"""Whether a copy is still traced after somebody tried to remove its marks, by its weights and by its answers.

    python -m bench.deep_removal fashion-0

A thief has half of the test images; accuracy is that on the other half. Coalitions average their copies.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import removal
from bench.deep_marked import CALLED, MANY, THRESHOLD, copies, subject, subjects
from bench.deep_read import Judge
from bench.removal import Attack, Thief
from bench.results import is_kept, kept, markdown
from bench.taught import AT, Subject
from fixtures import cnn
from onnxfp.attacks import parse, run
from onnxfp.workflows.issue import Issuing, issue
from onnxfp.workflows.mark import Marking, mark
from onnxfp.workflows.vault import create_vault, open_vault

THIEF = "the thief"
removal.RATE.setdefault("lenet", removal.RATE["fashion"])


@dataclass(frozen=True)
class Stolen:
    """A copy in a thief's hands, as the attacks of `bench.removal` take it."""

    subject: Subject
    marked: Path

    @property
    def task(self) -> str:
        """Which data it is for."""
        return self.subject.task

    @property
    def split(self) -> Any:
        """Its data."""
        return self.subject.split


def overwritten(stolen: Any, destination: Path) -> Path:
    """Another owner prepares the copy for copies of their own, with the thief's images, and issues one."""
    inputs, labels = Thief(stolen).data
    recipe = stolen.subject.lesson
    with tempfile.TemporaryDirectory() as folder:
        create_vault(Path(folder) / "vault", None)
        np.savez(Path(folder) / "data.npz", inputs=inputs, labels=labels)
        base = Path(folder) / "base.onnx"
        tuning = replace(recipe.tuning, loss=0.05)
        with open_vault(Path(folder) / "vault", None) as vault:
            request = Marking(stolen.marked, "deeptrace", {}, Path(folder) / "data.npz", base, AT, tuning=tuning)
            mark(vault, request, lambda line: None)
            issue(vault, Issuing(base, "somebody", destination, AT, force=True))
    return destination


ATTACKS: dict[str, Attack] = {
    "none": removal.none,
    "fine-tune last layer": removal.fine_tuning("last"),
    "fine-tune all": removal.fine_tuning("all"),
    "fine-tune all, three times the rate": removal.fine_tuning("all", 3.0),
    "last layer anew, fine-tune all": removal.fine_tuning("fresh"),
    **{f"prune {share} %": removal.step(f"prune:{share / 100}") for share in range(10, 100, 20)},
    **{f"round to {bits} bits": removal.step(f"round:{bits}") for bits in (8, 5, 4)},
    "int8, static QDQ": removal.int8_static,
    "prune 50 %, fine-tune all": removal.fine_tuning("all", before=removal.step("prune:0.5")),
    "marked anew by another owner": overwritten,
    "distil into a fresh network": removal.distillation,
}
ONCE = (
    "marked anew by another owner",
    "distil into a fresh network",
)  # of the first seed of each network on Fashion-MNIST
TOGETHER = (2, 3, 5, 10, 20)
MOST = (2, 3)  # colluders whose answers are asked as often as the model bears it


def attacks_on(one: Subject) -> list[str]:
    """Which attacks are tried."""
    return [name for name in ATTACKS if (one.task != "cifar10" and one.seed == 0) or name not in ONCE]


def measure(one: Subject) -> None:
    """Measure all that is not kept yet."""
    judge = Judge.of(one)
    for name in attacks_on(one):
        kept(_title(one, name), lambda name=name: _attacked(judge, name))
    for size in TOGETHER:
        kept(_title(one, f"average of {size}"), lambda size=size: _averaged(judge, size))


def measure_many() -> None:
    """The same for two and three colluders, where the model has as many triggers as it bears."""
    judge = Judge.of(subject(*MANY))
    for size in MOST:
        kept(_title(judge.subject, f"average of {size}"), lambda size=size: _averaged(judge, size))


def _title(one: Subject, attack: str) -> str:
    return f"deeptrace-removal-{one.folder.name}-{''.join(c if c.isalnum() else '-' for c in attack)}"


@contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "leaked.onnx"


def _attacked(judge: Judge, attack: str) -> dict[str, Any]:
    with copies(judge.subject, [THIEF]) as (copy,), _place() as leaked:
        path = ATTACKS[attack](Stolen(judge.subject, copy), leaked)  # type: ignore[arg-type]
        return judge.judged(path, [THIEF]) | {"accuracy": _accuracy(judge.subject, path)}


def _averaged(judge: Judge, size: int) -> dict[str, Any]:
    names = [f"colluder {number}" for number in range(size)]
    with copies(judge.subject, names) as paths, _place() as leaked:
        run(parse("average"), paths, leaked, 0, force=True)
        return judge.judged(leaked, names) | {"accuracy": _accuracy(judge.subject, leaked)}


def _accuracy(one: Subject, path: Path) -> float:
    images, labels = Thief(one).judged_by
    return float(np.mean(cnn.answers(path, images).argmax(axis=1) == labels))


# --- telling ----------------------------------------------------------------------------------------------------------


def table(*, whole: bool) -> str:
    """One row per network and attack: of all seeds together."""
    header = (
        "network",
        "attack",
        "accuracy left",
        "triggers right",
        "log10 e: answers",
        "log10 e: weights",
        "named by",
    )
    rows: list[tuple[str, ...]] = []
    for task in CALLED:
        chosen = [one for one in subjects(whole=whole) if one.task == task]
        for name in [*ATTACKS, *(f"average of {size}" for size in TOGETHER)]:
            found = [_kept(one, name) for one in chosen if is_kept(_title(one, name))]
            if found:
                rows.append((CALLED[task], name, *_row(found)))
    many = subject(*MANY)
    for size in MOST:
        if is_kept(_title(many, f"average of {size}")):
            called = f"{CALLED[many.task]}, {MANY[2]} triggers"
            rows.append((called, f"average of {size}", *_row([_kept(many, f"average of {size}")])))
    return markdown(header, rows)


def _kept(one: Subject, name: str) -> dict[str, Any]:
    return dict(kept(_title(one, name), dict))


def _row(found: list[dict[str, Any]]) -> tuple[str, ...]:
    """What several seeds came to, each of them with one thief or several colluders."""
    of = found[0]["of"]
    who = len(found[0]["hits"])
    return (
        _range([100 * run["accuracy"] for run in found], 1) + " %",
        f"{_range([hits for run in found for hits in run['hits']], 0)} of {of}",
        _range([value for run in found for value in run["answers"]["log10_e"]], 1),
        _range([value for run in found for value in run["weights"]["log10_e"]], 0),
        "; ".join(
            f"{channel} {_named([run[channel]['named'] for run in found], who)}"
            for channel in ("answers", "weights", "both")
        ),
    )


def _named(counts: list[int], who: int) -> str:
    told = f"{sum(counts)} of {who * len(counts)}"
    return told if all(counts) else f"**{told}**"


def _range(values: list[float], digits: int) -> str:
    if not np.isfinite(values).all():
        return "unread"
    low, high = min(values), max(values)
    return f"{low:.{digits}f}" if round(high - low, digits) == 0 else f"{low:.{digits}f} to {high:.{digits}f}"


def innocents(*, whole: bool) -> str:
    """The strongest innocent of all of this, in each channel."""
    titles = [
        (one, name)
        for one in subjects(whole=whole)
        for name in [*attacks_on(one), *(f"average of {size}" for size in TOGETHER)]
        if is_kept(_title(one, name))
    ]
    runs = [_kept(one, name) for one, name in titles]
    told = [
        f"{channel} {max(run[channel]['innocent'] for run in runs):.1f} "
        f"({sum(run[channel]['innocents_named'] for run in runs)} named)"
        for channel in ("weights", "answers", "both")
    ]
    return (
        f"Strongest of 2 000 innocents in {len(runs)} suspects, log10 e: {', '.join(told)}; {THRESHOLD:.0f} is needed."
    )


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    for text in sys.argv[1:]:
        task, number = text.rsplit("-", 1)
        measure(subject(task, int(number)))
    print(table(whole=False))

"""What removal attacks leave of an additional class. ``-m bench.extra_removal``.

The attacks, the thief's images and the verdicts are those of `bench.removal`; beside them the class itself is dropped,
masked or merged, which costs a thief nothing.
"""

from __future__ import annotations

from typing import Any

from bench import extra_marked, removal
from bench.marking import ALPHA
from bench.results import markdown, spread
from bench.taught import Subject

NEEDED = 6.0  # log10 e
ATTACKS = (
    "none",
    "drop_class",
    "mask_class",
    "merge_class",
    "fine-tune last layer",
    "fine-tune all",
    "last layer anew, fine-tune all",
    "fine-tune all, drop_class",
    "last layer anew, fine-tune all, drop_class",
    *(f"prune {share} %" for share in (30, 50, 70, 90)),
    "int8, dynamic",
    "fp16",
)
ONCE = ("fine-tune all, five times the rate", "distil into a fresh network")
"""Attacks on one model only."""
GROUPS = (
    *(("fashion", kind) for kind in ("drawn", "gate", "pictures", "twofold")),
    ("cifar10", "drawn"),
)


def measure(one: Subject, *, whole: bool) -> dict[str, dict[str, Any]]:
    """One result per attack."""
    first = (one.task, one.seed, one.kind) == ("fashion", 0, "drawn")
    return removal.measure(one, (*ATTACKS, *(ONCE if first else ())), whole=whole)


def table(*, whole: bool) -> str:
    """One row per way of marking and attack, over seeds."""
    header = (
        "model",
        "attack",
        "seeds",
        "accuracy left",
        "pairs of which the key stood out, the decoy did",
        "log10 e: scores, labels",
        f"supported at {ALPHA:g}: scores, labels",
    )
    return markdown(header, [row for task, kind in GROUPS for row in _rows(task, kind, whole=whole)])


def _rows(task: str, kind: str, *, whole: bool) -> list[tuple[str, ...]]:
    found = [measure(one, whole=whole) for one in extra_marked.there(whole=whole, task=task, kind=kind)]
    names = [name for name in (*ATTACKS, *ONCE) if any(name in one for one in found)]
    return [
        _row(f"{task}, {extra_marked.CALLED[kind]}", name, [one[name] for one in found if name in one])
        for name in names
    ]


def _row(model: str, attack: str, runs: list[dict[str, Any]]) -> tuple[str, ...]:
    failed = [run["failed"] for run in runs if "failed" in run]
    if failed:
        return (model, attack, str(len(runs)), f"not possible: {failed[0]}", "-", "-", "-")
    hits = [float(run["labels"]["hits"]) for run in runs]
    misses = [run["labels"]["of"] - run["labels"]["hits"] for run in runs]
    return (
        model,
        attack,
        str(len(runs)),
        f"{spread([100 * run['accuracy'] for run in runs], 2)} %",
        f"{spread(hits, 0)}, {spread(misses, 0)}",
        ", ".join(_evidence([run[access]["log10_e"] for run in runs]) for access in ("scores", "labels")),
        ", ".join(_supported([run[access]["supported"] for run in runs]) for access in ("scores", "labels")),
    )


def _evidence(values: list[float]) -> str:
    text = spread(values)
    return text if min(values) >= NEEDED else f"**{text}**"


def _supported(found: list[bool]) -> str:
    if all(found):
        return "yes"
    return f"**no, {len(found) - sum(found)} of {len(found)}**" if any(found) or len(found) > 1 else "**no**"


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(table(whole=True))

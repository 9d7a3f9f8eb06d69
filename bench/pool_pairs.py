"""Evidence against the number of pairs, for every score, and what the plan costs in accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.pool_models import CALLED, PLANNED, Subject
from bench.pool_read import NEEDED, judge_of
from bench.results import is_kept, kept, markdown, spread
from fixtures import cnn

PAIRS = (500, 1_000, 2_000, 5_000, 10_000)
BESIDE = (0, 1, 2, 3)
SCORES = ("loss", "margin", "difference", "lira", "rmia", "gain", "attack", "together")


def measure(one: Subject) -> dict[str, Any]:
    """Evidence for one protected model."""
    return dict(kept(f"pools-pairs-{one.folder.name}", lambda: _measured(one)))


def _measured(one: Subject) -> dict[str, Any]:
    judge = judge_of(one)
    values = judge.answers(one.protected)
    found = {
        f"{count} shadows{', one to learn from' if learning else ''}": {
            str(pairs): judge.evidence(values, judge.beside(count, learning=learning), pairs) for pairs in PAIRS
        }
        for count, learning in [*((count, False) for count in BESIDE), (3, True)]
    }
    return {"evidence": found, **accuracies(one)}


def accuracies(one: Subject) -> dict[str, float]:
    """Accuracy of a protected model and its twin on the test images, and of the first on what it was trained on."""
    split = one.split
    with np.load(one.plan) as arrays:
        rows = arrays["train_rows"]
    trained = cnn.answers(one.protected, split.x_train[rows]).argmax(axis=1) == split.y_train[rows]
    return {
        "protected": _accuracy(one.protected, one),
        "twin": _accuracy(one.twin, one),
        "trained": float(np.mean(trained)),
        "rows": len(rows),
    }


def _accuracy(path: Any, one: Subject) -> float:
    return float(np.mean(cnn.answers(path, one.split.x_test).argmax(axis=1) == one.split.y_test))


def _runs(*, whole: bool) -> dict[str, list[dict[str, Any]]]:
    """Results by data set."""
    found: dict[str, list[dict[str, Any]]] = {}
    for task, seed in PLANNED:
        one = Subject(task, seed)
        if whole or is_kept(f"pools-pairs-{one.folder.name}"):
            found.setdefault(task, []).append(measure(one))
    return found


def models(*, whole: bool) -> str:
    """One row per data set: accuracy with and without a plan."""
    header = ("model", "seeds", "rows trained on", "accuracy, planned", "no plan", "on its own rows", "1 - gap")
    rows: list[tuple[str, ...]] = []
    for task, runs in _runs(whole=whole).items():
        gaps = [run["trained"] - run["protected"] for run in runs]
        rows.append(
            (
                CALLED[task],
                str(len(runs)),
                f"{runs[0]['rows']:,}",
                f"{spread([100 * run['protected'] for run in runs], 2)} %",
                f"{spread([100 * run['twin'] for run in runs], 2)} %",
                f"{spread([100 * run['trained'] for run in runs], 2)} %",
                f"{spread([1 - gap for gap in gaps], 3)}",
            )
        )
    return markdown(header, rows)


def table(*, whole: bool) -> str:
    """One row per data set, number of shadow models and score."""
    header = ("model", "beside", "score", *(f"{pairs:,} pairs" for pairs in PAIRS))
    rows: list[tuple[str, ...]] = []
    for task, runs in _runs(whole=whole).items():
        for beside in runs[0]["evidence"]:
            tables = [run["evidence"][beside] for run in runs]
            names = [name for name in SCORES if name in tables[0][str(PAIRS[0])]]
            shown = [name for name in names if beside.startswith(("0", "3")) or name in ("rmia", "together")]
            for name in shown:
                cells = [spread([one[str(pairs)][name] for one in tables]) for pairs in PAIRS]
                rows.append((CALLED[task], beside, name, *cells))
    return markdown(header, rows) + f"\n\nlog10 e; {NEEDED:.0f} is needed at alpha = 1e-6."


def plot(path: Path, *, whole: bool) -> None:
    """Plot evidence against the number of pairs: without shadow models, beside three, and with one to learn from."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = _runs(whole=whole)
    figure, axes = plt.subplots(1, max(1, len(found)), figsize=(4.4 * max(1, len(found)), 4), squeeze=False)
    for axis, (task, runs) in zip(axes[0], found.items(), strict=True):
        for beside in ("0 shadows", "3 shadows", "3 shadows, one to learn from"):
            curves = np.asarray([[run["evidence"][beside][str(n)]["together"] for n in PAIRS] for run in runs])
            axis.plot(PAIRS, curves.mean(axis=0), marker="o", ms=3, label=beside)
            axis.fill_between(PAIRS, curves.min(axis=0), curves.max(axis=0), alpha=0.2)
        axis.axhline(NEEDED, color="0.6", ls="--")
        axis.set(title=CALLED[task], xlabel="pairs")
    axes[0][0].set(ylabel="log10 e (dashed: enough at 1e-6)")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    print(models(whole=True))
    print(table(whole=True))

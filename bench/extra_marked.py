"""Zoo models that are marked with an additional class. ``-m bench.extra_marked fashion-0-drawn cifar10-0-drawn``.

Everything is that of `bench.marking`: the same images, tuning and limits, one vault for each model.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.images import pixels
from bench.marking import ALPHA, measured, title_of
from bench.results import is_kept, markdown, spread
from bench.taught import BUDGETS, LESSONS, Subject, Way
from bench.train import CACHE

SCHEME = "extra_class"
GREY = "grey-cifar10.npz"
PICTURES = 2_000  # of CIFAR-10, from which the owner's covers are picked
EDGE = 2  # pixels that are cut off each side of them
PAIRS = 64  # the scheme's own default
HANDED = 1_000  # key images of the model whose pool is large
WAYS = {
    "drawn": Way(SCHEME),
    "gate": Way(SCHEME, (("gate", 1.5),)),
    "pictures": Way(SCHEME, pictures=GREY),
    "bare": Way(SCHEME, (("taught", 1),)),
    "pool": Way(SCHEME, (("pool", HANDED),)),
    "handed": Way(SCHEME, (("pool", HANDED),)),
    "twofold": Way(SCHEME, (("positions", 2 * PAIRS),)),
}
CALLED = {
    "drawn": "drawn covers",
    "gate": "drawn covers, a gate of 1.5 nats",
    "pictures": "CIFAR-10 pictures in grey as covers",
    "bare": "drawn covers, taught without variants",
    "pool": f"drawn covers, {HANDED:,} key images to hand out",
    "handed": f"the same, with a budget of {100 * BUDGETS['fashion', 'handed']:.1f} points",
    "twofold": f"drawn covers, {2 * PAIRS} pairs",
}
PLANNED = (
    ("fashion", "drawn", (0, 1, 2)),
    ("cifar10", "drawn", (0,)),
    ("fashion", "gate", (0,)),
    ("fashion", "pictures", (0,)),
    ("fashion", "bare", (0,)),
    ("fashion", "pool", (0,)),
    ("fashion", "handed", (0,)),
    ("fashion", "twofold", (0,)),
)
CLAIMED = "100 %"  # mark, papers' notes of Sun et al., sec. 4.3: watermark accuracy


def subject(task: str, seed: int, kind: str) -> Subject:
    """One zoo model that is marked with an additional class."""
    if WAYS[kind].pictures:
        _grey(CACHE / GREY)
    return Subject(task, seed, kind, WAYS[kind])


def subjects(task: str = "", kind: str = "") -> list[Subject]:
    """All of them, of one task or kind."""
    chosen = [row for row in PLANNED if task in ("", row[0]) and kind in ("", row[1])]
    return [subject(task, seed, kind) for task, kind, seeds in chosen for seed in seeds]


def there(*, whole: bool, task: str = "", kind: str = "") -> list[Subject]:
    """Those whose mark took; unless it is the whole run, of those that were measured."""
    chosen = [one for one in subjects(task, kind) if whole or is_kept(title_of(one))]
    return [one for one in chosen if "failed" not in measured(one)]


def _grey(path: Path) -> None:
    """Keep the first test images of CIFAR-10 in grey, cut to the size of Fashion-MNIST's."""
    if path.exists():
        return
    colours = pixels("cifar10")[2][:PICTURES, :, EDGE:-EDGE, EDGE:-EDGE].astype(np.float64)
    grey = np.rint(np.einsum("nchw,c->nhw", colours, (0.299, 0.587, 0.114))[:, None])  # as JPEG weighs colours
    part = path.with_suffix(".tmp")
    with part.open("wb") as file:
        np.savez(file, inputs=(grey / 255).astype(np.float32))
    part.replace(path)


# --- telling ----------------------------------------------------------------------------------------------------------


def table(*, whole: bool) -> str:
    """One row per data set and way."""
    header = (
        "model",
        "covers",
        "seeds",
        "test accuracy before, after",
        "lost, points (limit)",
        "in the additional class: taught keys, taught decoys, keys to hand out",
        "paper: keys",
        "never taught: would-be keys, would-be decoys",
        "log10 e of all: scores, labels",
        f"queries at {ALPHA:g}: scores, labels",
        "unmarked, log10 e",
        "seconds",
    )
    return markdown(header, [row for plan in PLANNED if (row := _row(*plan, whole=whole))])


def _row(task: str, kind: str, seeds: tuple[int, ...], *, whole: bool) -> tuple[str, ...]:
    chosen = [one for one in subjects(task, kind) if whole or is_kept(title_of(one))]
    runs = [measured(one) for one in chosen]
    good = [run for run in runs if "failed" not in run]
    if not good:
        return (
            (task, CALLED[kind], f"{len(runs)} of {len(seeds)}, **none took**", *("-" for _ in range(9)))
            if runs
            else ()
        )
    failed = f", **{len(runs) - len(good)} failed**" if len(good) < len(runs) else ""
    missing = f" of {len(seeds)}" if len(runs) < len(seeds) else ""
    lost, limit = [100 * (run["before"] - run["after"]) for run in good], 100 * LESSONS[task].limit
    lost_text = f"{spread(lost, 2)} ({limit:.1f})"
    unmarked = max(run["unmarked"][access]["log10_e"] for run in good for access in ("labels", "scores"))
    return (
        task,
        CALLED[kind],
        f"{len(runs)}{missing}{failed}",
        f"{_percent(good, 'before')}, {_percent(good, 'after')}",
        lost_text if max(lost) <= limit else f"**{lost_text}**",
        ", ".join(_hits(good, name) for name in ("taught keys", "taught decoys", "keys to hand out")),
        CLAIMED,
        ", ".join(_hits(good, name) for name in ("held-out keys", "held-out decoys")),
        ", ".join(spread([run["asked"][access]["log10_e"] for run in good]) for access in ("scores", "labels")),
        ", ".join(_queries(good, access) for access in ("scores", "labels")),
        f"at most {round(unmarked, 1) + 0.0:.1f}",
        spread([run["seconds"] for run in good], 0),
    )


def _percent(runs: list[dict[str, Any]], name: str) -> str:
    return f"{spread([100 * run[name] for run in runs], 2)} %"


def _hits(runs: list[dict[str, Any]], name: str) -> str:
    return f"{spread([100 * run['hits'][name] for run in runs])} %"


def _queries(runs: list[dict[str, Any]], access: str) -> str:
    counts = [run["asked"][access]["queries"] for run in runs]
    if None in counts:
        return f"**not reached by {counts.count(None)}**"
    return spread([float(count) for count in counts], 0)


def main() -> None:
    import torch

    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        task, seed, kind = name.split("-")
        print(name, json.dumps(measured(subject(task, int(seed), kind))), flush=True)


if __name__ == "__main__":
    main()

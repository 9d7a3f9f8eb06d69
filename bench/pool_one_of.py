"""One of N pools, the paper's form: how often is the pool that was trained on the one with the highest score?

A draw takes one pool of rows that were trained on and N - 1 pools of rows that were held back, all at random: as if a
plan had chosen one of N. One draw gives an e-value of N at most, so that it never decides at 1e-6 by itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bench.pool_models import CALLED, PLANNED, Subject
from bench.pool_read import NEEDED, Judge, codebook, judge_of
from bench.results import is_kept, kept, markdown, spread
from onnxfp.domain import Answered, Floats
from onnxfp.membership.reading import AskedPools, pool_reading
from onnxfp.membership.scores import Shadow
from onnxfp.verdict.betting import log10_e

FORMS = ((10, 100), (10, 500), (100, 10), (100, 90), (1_000, 1), (1_000, 9))  # pools, rows of a pool
DRAWS = 100
SCORE = "rmia"


def measure(one: Subject) -> dict[str, Any]:
    """All forms of one protected model."""
    return dict(kept(f"pools-one-of-{one.folder.name}", lambda: _measured(one)))


def _measured(one: Subject) -> dict[str, Any]:
    judge = judge_of(one)
    values, beside = judge.answers(one.protected), judge.beside(3)
    found = {}
    for pools, size in FORMS:
        draws = [_draw(judge, values, beside, (pools, size), number) for number in range(DRAWS)]
        found[f"{pools}x{size}"] = {"right": sum(right for right, _ in draws), "log10_e": [e for _, e in draws]}
    return found


def _draw(
    judge: Judge, values: Floats, beside: tuple[Shadow, ...], form: tuple[int, int], number: int
) -> tuple[bool, float]:
    pools, size = form
    random = np.random.default_rng(number)
    trained = np.zeros((len(judge.word), 2), dtype=bool)
    trained[np.arange(len(judge.word)), judge.word] = True
    members, others = (random.permutation(np.flatnonzero(which)) for which in (trained.ravel(), ~trained.ravel()))
    symbol = int(random.integers(pools))
    rows = others[: pools * size].reshape(pools, size).copy()
    rows[symbol] = members[:size]
    at = rows.reshape(-1)
    part = tuple(
        Shadow(replace(one.told, values=one.told.values[at], labels=one.told.labels[at]), one.member[at])
        for one in beside
    )
    asked, book = AskedPools((1, pools, size), 1, judge.asked.labels[at], part), codebook((1, pools, size))
    word = np.asarray([[symbol]], dtype=np.uint16)
    e_value = float(log10_e(pool_reading(asked, book, Answered(values[at])), book, word)[0])
    score = asked.scores(asked.told(values[at]))[SCORE].reshape(pools, size).mean(axis=1)
    return int(score.argmax()) == symbol, e_value


def table(*, whole: bool) -> str:
    """One row per data set and form."""
    header = (
        "model", "N", "rows of a pool", f"named of {DRAWS}", "by chance", "log10 e of a draw", "log10 N", "draws needed"
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for task in CALLED:
        chosen = [Subject(*pair) for pair in PLANNED if pair[0] == task]
        runs = [measure(one) for one in chosen if whole or is_kept(f"pools-one-of-{one.folder.name}")]
        for pools, size in FORMS if runs else ():
            found = [run[f"{pools}x{size}"] for run in runs]
            mean = float(np.mean([one["log10_e"] for one in found]))
            rows.append(
                (
                    CALLED[task],
                    f"{pools:,}",
                    str(size),
                    spread([float(one["right"]) for one in found], 0),
                    f"{DRAWS / pools:g}",
                    f"{mean:.2f}",
                    f"{np.log10(pools):.0f}",
                    f"{np.ceil(NEEDED / mean):.0f}" if mean > 0 else "never",
                )
            )
    return markdown(header, rows)


if __name__ == "__main__":
    print(table(whole=True))

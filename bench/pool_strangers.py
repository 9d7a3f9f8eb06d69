"""Models that never knew a plan: is any called ours, by any of many keys?"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.pool_models import CALLED, Subject, stranger
from bench.pool_read import NEEDED, judge_of
from bench.results import is_kept, kept, markdown

TASK, EACH, WORDS = "fashion", 10, 2_000
LEVELS = (0.1, 0.01, 0.001)


def measure(number: int, overlapping: bool) -> dict[str, Any]:
    """One stranger under many words, and under the owner's own."""
    return dict(kept(_title(number, overlapping), lambda: _measured(number, overlapping)))


def _title(number: int, overlapping: bool) -> str:
    return f"pools-stranger-{TASK}-{number}-{'overlapping' if overlapping else 'disjoint'}"


def _measured(number: int, overlapping: bool) -> dict[str, Any]:
    judge = judge_of(Subject(TASK, number % 3))
    values = judge.answers(stranger(TASK, number, overlapping))
    found = {}
    for count in (0, 3):
        beside = judge.beside(count, learning=bool(count))
        scores = judge.strangers(values, beside, WORDS)
        found[str(count)] = {
            "owner": judge.evidence(values, beside)["together"],
            "most": float(scores.max()),
            "mean": float(np.mean(10.0**scores)),
            "passed": [int((scores >= -np.log10(level)).sum()) for level in LEVELS],
        }
    return found


def table(*, whole: bool) -> str:
    """One row per kind of stranger and number of shadow models."""
    header = (
        "strangers", "beside", "models x keys", "called ours", "strongest log10 e",
        *(f"e >= {1 / level:g}: share (at most)" for level in LEVELS), "mean of e",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for overlapping in (False, True):
        runs = [measure(n, overlapping) for n in range(EACH) if whole or is_kept(_title(n, overlapping))]
        for count in ("0", "3") if runs else ():
            total = WORDS * len(runs)
            found = [run[count] for run in runs]
            most = max(max(one["most"], one["owner"]) for one in found)
            passed = [sum(one["passed"][at] for one in found) / total for at in range(len(LEVELS))]
            rows.append(
                (
                    f"{CALLED[TASK]}, {'overlapping' if overlapping else 'disjoint'} rows",
                    f"{count} shadows" + (", one to learn from" if count != "0" else ""),
                    f"{len(runs)} x {WORDS:,}",
                    str(sum(max(one["most"], one["owner"]) >= NEEDED for one in found)),
                    f"{most:.1f}",
                    *(f"{share:.4f} ({level:g})" for share, level in zip(passed, LEVELS, strict=True)),
                    f"{np.mean([one['mean'] for one in found]):.2f}",
                )
            )
    return markdown(header, rows)


if __name__ == "__main__":
    print(table(whole=True))

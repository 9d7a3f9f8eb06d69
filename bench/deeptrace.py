"""All numbers of docs/deeptrace.md: ``make bench-deeptrace`` (it resumes where it stopped).

    python -m bench.deeptrace                  measure what is missing, write docs/deeptrace.md
    python -m bench.deeptrace marked traced    only these sections; the others stay as they were written
    python -m bench.deeptrace --kept           measure nothing, write what there is

Trained models, prepared models with their vaults, and results are kept under ``bench/.cache``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench import deep_cost, deep_marked, deep_removal, deep_trace
from bench.whitebox import DOCS, fill, versions

PAGE = DOCS / "deeptrace.md"


def _marked(*, whole: bool) -> str:
    if whole:
        for task, seed in deep_marked.PLANNED:
            deep_marked.measure(deep_marked.subject(task, seed))
    return deep_marked.table(whole=whole)


def _removal(*, whole: bool) -> str:
    if whole:
        for one in deep_marked.subjects():
            deep_removal.measure(one)
        deep_removal.measure_many()
    return deep_removal.table(whole=whole) + "\n\n" + deep_removal.innocents(whole=whole)


SECTIONS: dict[str, Callable[..., str]] = {
    "marked": _marked,
    "traced": deep_trace.table,
    "removal": _removal,
    "cost": deep_cost.table,
}


def main() -> None:
    """Measure and write."""
    import torch

    torch.set_num_threads(1)
    page = fill(PAGE.read_text(), "versions", versions())
    whole = "--kept" not in sys.argv
    for name in [name for name in sys.argv[1:] if name != "--kept"] or SECTIONS:
        page = fill(page, name, SECTIONS[name](whole=whole))
        PAGE.write_text(page)


if __name__ == "__main__":
    main()

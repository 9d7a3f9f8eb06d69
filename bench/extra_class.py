"""All numbers of docs/extra_class.md: ``make bench-extra-class`` (it resumes where it stopped).

    python -m bench.extra_class                  measure what is missing, write docs/extra_class.md
    python -m bench.extra_class marked removal   only these sections; the others stay as they were written
    python -m bench.extra_class --kept           measure nothing, write what there is

Trained models, marked models with their vaults and results are kept under ``bench/.cache``.
"""

from __future__ import annotations

import sys

from bench import extra_holders, extra_marked, extra_queries, extra_removal, extra_strangers
from bench.whitebox import DOCS, fill, versions

PAGE = DOCS / "extra_class.md"
SECTIONS = {
    "marked": extra_marked,
    "strangers": extra_strangers,
    "removal": extra_removal,
    "queries": extra_queries,
    "holders": extra_holders,
}


def main() -> None:
    """Measure and write."""
    import torch

    torch.set_num_threads(1)
    page = fill(PAGE.read_text(), "versions", versions())
    whole = "--kept" not in sys.argv
    for name in [name for name in sys.argv[1:] if name != "--kept"] or SECTIONS:
        page = fill(page, name, SECTIONS[name].table(whole=whole))
        PAGE.write_text(page)


if __name__ == "__main__":
    main()

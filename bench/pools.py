"""All numbers of docs/pools.md: ``make bench-pools`` (it resumes where it stopped).

    python -m bench.pools                   measure what is missing, write docs/pools.md
    python -m bench.pools pairs removal     only these sections
    python -m bench.pools --kept            measure nothing, write what there is

Trained models, vaults and results are kept under ``bench/.cache``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench import pool_cost, pool_one_of, pool_pairs, pool_removal, pool_strangers
from bench.whitebox import DOCS, fill, versions

PAGE = DOCS / "pools.md"
SECTIONS: dict[str, Callable[..., str]] = {
    "models": pool_pairs.models,
    "pairs": pool_pairs.table,
    "removal": pool_removal.table,
    "strangers": pool_strangers.table,
    "one-of": pool_one_of.table,
    "cost": pool_cost.table,
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
    pool_pairs.plot(DOCS / "plots" / "pools.png", whole=whole)


if __name__ == "__main__":
    main()

"""All numbers of docs/blackbox.md: ``make bench-blackbox`` (some hours on two cores; it resumes where it stopped).

    python -m bench.blackbox                    measure what is missing, write docs/blackbox.md and its plots
    python -m bench.blackbox marking strangers  only these sections; the others stay as they were written
    python -m bench.blackbox --kept             measure nothing, write what there is

Trained models, marked models with their vaults and results are kept under ``bench/.cache``.
"""

from __future__ import annotations

import sys

from bench import asking_cost, inversion, marking, removal, strangers
from bench.whitebox import DOCS, fill, versions

PAGE = DOCS / "blackbox.md"
SECTIONS = {
    "marking": marking,
    "removal": removal,
    "inversion": inversion,
    "strangers": strangers,
    "cost": asking_cost,
}
PLOTS = {"inversion": inversion.plot, "strangers": strangers.plot}


def main() -> None:
    """Measure and write."""
    import torch

    torch.set_num_threads(1)
    page = fill(PAGE.read_text(), "versions", versions())
    whole = "--kept" not in sys.argv
    for name in [name for name in sys.argv[1:] if name != "--kept"] or SECTIONS:
        page = fill(page, name, SECTIONS[name].table(whole=whole))
        if name in PLOTS:
            PLOTS[name](DOCS / "plots" / f"{name}.png")
        PAGE.write_text(page)


if __name__ == "__main__":
    main()

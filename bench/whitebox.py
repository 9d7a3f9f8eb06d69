"""All numbers of docs/benchmarks.md: ``make bench`` (about two hours on two cores; it resumes where it stopped).

    python -m bench.whitebox                 measure what is missing, write docs/benchmarks.md and its plots
    python -m bench.whitebox cost innocents  only these sections; the others are taken as they were kept

Trained models and results are kept under ``bench/.cache``.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path

from bench import coalitions, cost, fidelity, innocents, robustness, strong

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "benchmarks.md"
SECTIONS = {
    "fidelity": fidelity,
    "robustness": robustness,
    "coalitions": coalitions,
    "strong": strong,
    "innocents": innocents,
    "cost": cost,
}
PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime-gpu", "torch", "cryptography")


def versions() -> str:
    """Return what the numbers were measured with."""
    found = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    return f"Python {platform.python_version()}, {', '.join(found)}; {os.cpu_count()} cores, {platform.machine()}."


def fill(page: str, name: str, text: str) -> str:
    """Return a page with one section's generated part replaced."""
    start, stop = f"<!-- {name} -->", f"<!-- /{name} -->"
    if start not in page:
        raise ValueError(f"{PAGE.name} has no place for {name!r}")
    return re.sub(
        f"{re.escape(start)}.*?{re.escape(stop)}", lambda _: f"{start}\n{text}\n{stop}", page, flags=re.DOTALL
    )


def main() -> None:
    """Measure and write."""
    page = fill(PAGE.read_text(), "versions", versions())
    for name in sys.argv[1:] or SECTIONS:
        page = fill(page, name, SECTIONS[name].table())
        PAGE.write_text(page)
    coalitions.plot(DOCS / "plots" / "coalitions.png")
    innocents.plot(DOCS / "plots" / "innocents.png")


if __name__ == "__main__":
    main()

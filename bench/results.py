"""Results that are kept: a benchmark that was interrupted goes on where it stopped.

A result lies in ``bench/.cache/results`` under its own name. Delete the folder (``make clean-bench``) to measure anew.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / ".cache" / "results"


def kept(name: str, measure: Callable[[], Any]) -> Any:
    """Return the result of that name; measure it if it is not there yet. Results are plain JSON values."""
    file = RESULTS / f"{name}.json"
    if not file.exists():
        started = time.monotonic()
        result = measure()
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        temporary.write_text(json.dumps(result, indent=1))
        temporary.replace(file)
        print(f"{name}: measured in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return json.loads(file.read_text())


def is_kept(name: str) -> bool:
    """Return whether there is a result of that name."""
    return (RESULTS / f"{name}.json").exists()


def markdown(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: list[float], digits: int = 1) -> str:
    """Return mean and range of a few numbers."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    mean = sum(values) / len(values)
    return f"{mean:.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"

"""What running a model may take."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LEAST = 4 << 30


@dataclass(frozen=True)
class Limits:
    """What running a model may take."""

    start_s: float = 60
    """For loading the libraries and the model."""
    answer_s: float = 60
    """For one batch: of 256 inputs or, where the first 16 take more than a thirty-second of this, of 16."""
    memory_bytes: int = 0
    """Beyond what the libraries take: address space on the CPU, memory in use with an accelerator. 0 stands for the
    larger of 4 GiB and eight times the model with all files beside it, but three quarters of the machine at most."""


DEFAULT = Limits()


def memory_of(path: Path, limits: Limits) -> int:
    """Return how many bytes a model may take."""
    if limits.memory_bytes:
        return limits.memory_bytes
    wanted = max(LEAST, 8 * _beside(path))
    return min(wanted, _machine() * 3 // 4) if _machine() else wanted


def _beside(path: Path) -> int:
    total = 0
    with suppress(OSError):
        for entry in os.scandir(path.resolve().parent):
            with suppress(OSError):
                total += entry.stat().st_size
    return total


def _machine() -> int:
    """Return the memory of the machine, or 0 where it does not say."""
    if sys.platform == "win32":
        return 0
    with suppress(OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0

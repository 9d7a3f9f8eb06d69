"""What an attack is: a name, the value it takes, and the step that the two make."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxfp.artifact import shown
from onnxfp.errors import UsageError

_SHOWN = 40  # characters of a wrong value that a message repeats


class Step(ABC):
    """One removal or deploy step, its value fixed."""

    @property
    @abstractmethod
    def sources(self) -> tuple[int, int | None]:
        """How many artifacts it takes, at least and at most; None for any number."""

    @abstractmethod
    def write(self, sources: Sequence[Path], destination: Path, rng: np.random.Generator, *, force: bool) -> None:
        """Write the changed artifact; nothing else is touched, and nothing half-written stays.

        Raises:
            UsageError: the sources do not fit together, or the destination cannot be taken.
            ArtifactError: a source is not what it claims to be.
        """


@dataclass(frozen=True)
class Attack:
    """How a step is called."""

    name: str
    usage: str
    """What to type, such as ``prune:SHARE``."""
    summary: str
    """What it does and which values it takes, in one line."""
    build: Callable[[str], Step]
    """Makes the step from the text after the colon, empty if there is none; raises ValueError for a bad one."""

    def step(self, value: str) -> Step:
        """Return the step for this value.

        Raises:
            UsageError: the value is missing, not a number or out of range.
        """
        try:
            return self.build(value)
        except ValueError as error:
            found = shown(f"{self.name}:{value[:_SHOWN]}")
            raise UsageError(f"expected {self.usage} ({self.summary}), found '{found}'; {error}") from None


def number(text: str, low: float, high: float) -> float:
    """Return a number from `low` to `high`.

    Raises:
        ValueError: it is none, or out of range.
    """
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"give a number from {low:g} to {high:g}") from None
    if not low <= value <= high:
        raise ValueError(f"give a number from {low:g} to {high:g}")
    return value


def whole_number(text: str, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`.

    Raises:
        ValueError: it is none, or out of range.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise ValueError(f"give a whole number from {low} to {high}")
    return int(text)


def nothing(text: str) -> None:
    """Refuse a value where none is taken.

    Raises:
        ValueError: there is one.
    """
    if text:
        raise ValueError("it takes no value")

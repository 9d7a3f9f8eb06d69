"""The outputs of many batches, put together again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

_TOGETHER = 1 << 30
"""Bytes of outputs that are kept."""
Output = npt.NDArray[Any]


class TooMuch(ValueError):
    """The outputs take more memory than they are worth."""


@final
class Gathered:
    """Batches of several outputs. What has several values for each class is not kept: only its shape is."""

    def __init__(self, names: Sequence[str], *, everything: bool = False) -> None:
        self._names = names
        self._everything = everything
        self._parts: list[list[Output]] = [[] for _ in names]
        self._bytes = 0

    def add(self, outputs: Sequence[Output], sent: int, samples: int) -> None:
        """Add what came back for a batch of `sent`, of which the first `samples` count.

        Raises:
            TooMuch: there is no room for more.
        """
        for parts, output in zip(self._parts, outputs, strict=True):
            part = output
            if output.ndim:  # one that has not an entry for each sample has none
                part = output[: samples if len(output) == sent else 0]
            if self._everything or _flat(part):
                self._bytes += part.nbytes
            else:
                part = np.broadcast_to(np.zeros((), part.dtype), part.shape)
            parts.append(part)
        if self._bytes > _TOGETHER:
            raise TooMuch(f"its outputs take more than {_TOGETHER >> 20} MiB")

    def outputs(self) -> list[tuple[str, Output]]:
        """Return each output with its name; one whose batches do not fit together is its first odd batch."""
        return [(name, _joined(parts)) for name, parts in zip(self._names, self._parts, strict=True)]


def _flat(part: Output) -> bool:
    return math.prod(part.shape[2:]) == 1


def _joined(parts: Sequence[Output]) -> Output:
    first = parts[0]
    odd = [part for part in parts if not part.ndim or part.shape[1:] != first.shape[1:] or part.dtype != first.dtype]
    if odd:
        return odd[0]
    if any(0 in part.strides and part.size > 1 for part in parts):  # only a shape
        return np.broadcast_to(np.zeros((), first.dtype), (sum(map(len, parts)), *first.shape[1:]))
    return np.concatenate(parts)

"""From text to numbers: outputs of BYTES that name classes by number, alone or with a score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.suspect.outputs import Unreadable
from onnxfp.suspect.v2 import Tensor

_DIGITS = 9


def numbered(outputs: Iterable[Tensor]) -> list[tuple[str, npt.NDArray[Any]]]:
    """Return outputs of numbers as they are, and those of text as the numbers of the classes that they name.

    Text is ``3``, or ``SCORE:3`` or ``SCORE:3:NAME`` as Triton's classification extension writes the best classes; the
    latter two become indices and scores.

    Raises:
        Unreadable: the only outputs are text that is none of these.
    """
    found: list[tuple[str, npt.NDArray[Any]]] = []
    odd: list[str] = []
    for output in outputs:
        if output.values.dtype.kind != "O":
            found.append((output.name, output.values))
            continue
        try:
            found += _read(output)
        except ValueError:
            odd.append(output.name)
    if odd and not found:
        raise Unreadable(f"output {ascii(odd[0])[:60]} holds text that does not name classes by number")
    return found


def _read(output: Tensor) -> list[tuple[str, npt.NDArray[Any]]]:
    shape, words = output.values.shape, [text.strip().split(":") for text in output.values.ravel()]
    if all(len(parts) == 1 for parts in words):
        return [(output.name, np.array([_index(parts[0]) for parts in words], dtype=np.int64).reshape(shape))]
    if any(len(parts) < 2 for parts in words):
        raise ValueError(words)
    indices = np.array([_index(parts[1]) for parts in words], dtype=np.int64).reshape(shape)
    return [(output.name, indices), (f"{output.name} (scores)", _scores(words).reshape(shape))]


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise ValueError(text)
    return int(text)


def _scores(words: Sequence[Sequence[str]]) -> npt.NDArray[np.float64]:
    return np.array([float(parts[0]) for parts in words], dtype=np.float64)

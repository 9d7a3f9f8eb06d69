"""What the Open Inference Protocol (V2) says, whatever carries it: tensors, descriptions, refusals.

Everything that comes back is an adversary's: it is checked here before anything is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
"""Datatypes of the protocol and what numpy calls them; BYTES and BF16 have no equal there."""
_OUTPUTS = 64
_EXTENTS = 8
_NAME = 256


class Refused(Exception):
    """One request was not answered, or not with anything that can be read; the text says why."""

    def __init__(
        self,
        reason: str,
        *,
        unreachable: bool = False,
        late: bool = False,
        smaller: bool = False,
        wait_s: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.unreachable = unreachable
        """No connection held."""
        self.late = late
        """There was no answer in time."""
        self.smaller = smaller
        """Fewer samples at a time may help."""
        self.wait_s = wait_s
        """Seconds after which asking again may help; None when it will not."""

    @property
    def silent(self) -> bool:
        """Whether there was no sign of life."""
        return self.unreachable or self.late


@dataclass(frozen=True)
class Tensor:
    """A named array; ``object`` for BYTES: bytes on the way out, text on the way in."""

    name: str
    values: npt.NDArray[Any]

    @property
    def datatype(self) -> str:
        """The protocol's word for its type."""
        return datatype_of(self.values.dtype)


@dataclass(frozen=True)
class InputFacts:
    """What the metadata say about an input of the model."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Description:
    """What an endpoint says about itself; every part may be missing."""

    server: str = ""
    binary: bool = False
    """Whether it says that it takes binary tensors."""
    inputs: tuple[InputFacts, ...] = ()


class Wire(Protocol):
    """A way to talk to one model; all times are those of `time.monotonic`."""

    def server(self, until: float) -> Description:
        """Ask the server about itself.

        Raises:
            Refused: it says nothing.
        """
        ...

    def inputs(self, until: float) -> tuple[InputFacts, ...]:
        """Ask about the inputs of the model.

        Raises:
            Refused: it says nothing.
        """
        ...

    def infer(self, asked: Tensor, until: float, *, binary: bool) -> tuple[Tensor, ...]:
        """Ask the model.

        Raises:
            Refused: there is no answer that can be read.
        """
        ...

    def close(self) -> None:
        """Hang up."""
        ...


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the protocol's word for a numpy type.

    Raises:
        KeyError: it has none.
    """
    if dtype.kind == "O":
        return "BYTES"
    return next(word for word, known in DTYPES.items() if known == dtype.newbyteorder("<"))


def checked_name(name: object) -> str:
    """Return the name of a tensor.

    Raises:
        Refused: it is none.
    """
    if not isinstance(name, str) or not 0 < len(name) <= _NAME:
        raise Refused(f"an output has no name of 1 to {_NAME} characters")
    return name


def checked_shape(shape: object, samples: int) -> tuple[int, ...]:
    """Return the shape of an output for `samples` inputs.

    Raises:
        Refused: it is no shape, or not one row per sample.
    """
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not 0 < len(shape) <= _EXTENTS:
        raise Refused(f"an output has no shape of 1 to {_EXTENTS} extents")
    if any(type(extent) is not int or not 0 <= extent < 2**40 for extent in shape):
        raise Refused("an output has a shape that is not made of natural numbers")
    if shape[0] != samples:
        raise Refused(f"an output has {shape[0]} rows for {samples} samples")
    return tuple(shape)


def checked_count(shape: tuple[int, ...], values: int) -> None:
    """Compare a shape with the number of values that came.

    Raises:
        Refused: they differ.
    """
    if math.prod(shape) != values:
        raise Refused(f"an output says shape {list(shape)} and brings {values} values")


def checked_outputs(outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the outputs of one answer.

    Raises:
        Refused: there are none, or two of one name.
    """
    if not outputs:
        raise Refused("the answer has no outputs")
    names = [output.name for output in outputs]
    if len(set(names)) < len(names):
        raise Refused("the answer has two outputs of one name")
    return tuple(outputs)


def checked_length(outputs: int) -> None:
    """Refuse more outputs than a model has.

    Raises:
        Refused: there are too many.
    """
    if outputs > _OUTPUTS:
        raise Refused(f"the answer has {outputs} outputs, expected at most {_OUTPUTS}")


def plain(text: object, limit: int = 100) -> str:
    """Return what a stranger said as one short printable line."""
    line = " ".join(str(text)[: 16 * limit].split())
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in line)[:limit]

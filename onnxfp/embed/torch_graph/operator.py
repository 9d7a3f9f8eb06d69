"""What the interpreter knows of one operator, and how one node's attributes are read when it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any, NoReturn, final

import torch

from onnxfp.embed.graph import Node

Operation = Callable[..., Any]
"""Takes the node's inputs (None for one that is not given) and returns a tensor, or a tuple of them."""


class Unsupported(Exception):
    """This form of a known operator cannot be run; says why, in a few words."""


@final
@dataclass(frozen=True)
class Call:
    """One node while it is being built."""

    node: Node
    opset: int
    constants: Mapping[str, torch.Tensor]
    """Values that are known already, by name."""
    quantized: Set[str] = frozenset()
    """Values that hold the whole numbers of a narrow integer type in floating point."""

    def integer(self, name: str, default: int = 0) -> int:
        """Return a whole number."""
        return int(self.node.attributes.get(name, default))

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a list of whole numbers, empty when it is not given."""
        return tuple(int(value) for value in self.node.attributes.get(name, ()))

    def number(self, name: str, default: float) -> float:
        """Return a real number."""
        return float(self.node.attributes.get(name, default))

    def text(self, name: str, default: str = "") -> str:
        """Return a text."""
        return str(self.node.attributes.get(name, default))

    def given(self, position: int) -> bool:
        """Whether an optional input is there."""
        return position < len(self.node.inputs) and bool(self.node.inputs[position])

    def scalar(self, position: int) -> float | int | None:
        """Return the value of an input that is one number and known beforehand."""
        known = self.constants.get(self.node.inputs[position]) if self.given(position) else None
        return known.item() if known is not None and known.numel() == 1 else None

    def wants(self, position: int) -> bool:
        """Whether somebody may use an optional output."""
        return position < len(self.node.outputs) and bool(self.node.outputs[position])

    def refuse(self, reason: str) -> NoReturn:
        """Say that this form of the operator cannot be run."""
        raise Unsupported(reason)

    def only(self, name: str, default: float | str, *accepted: float | str) -> None:
        """Refuse an attribute that differs from its default and from what else is accepted."""
        value = self.node.attributes.get(name, default)
        if value not in (default, *accepted):
            self.refuse(f"{name}={value}")


Builder = Callable[[Call], Operation]


@final
@dataclass(frozen=True)
class Operator:
    """How nodes of one operator are built, and what its inputs are."""

    build: Builder
    host: tuple[int, ...] = ()
    """Inputs that arrive as flat lists of Python numbers: shapes, axes, bounds."""
    frozen: tuple[int, ...] = ()
    """Inputs that are never trained: statistics, tables."""
    view: bool = False
    """Shows its inputs' values again, rearranged."""
    measures: bool = False
    """Looks at the shape of its input only."""


def plain(operation: Operation, *, host: tuple[int, ...] = (), view: bool = False) -> Operator:
    """Return an operator that has no attributes."""
    return Operator(lambda _: operation, host=host, view=view)

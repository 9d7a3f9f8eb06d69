"""Taking a class out of a classifier: dropped, never answered, or answered as another.

Against marks that teach a model a class of its own, this costs no accuracy. Standard operators are put where the scores
are made (`scores.py`); the weights stay as they are, so a mark in weights is not touched, and whoever opens the file
still finds the class there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never, final

import numpy as np

from onnxfp.attacks.interface import Step
from onnxfp.attacks.restructure import names_of, restructure
from onnxfp.attacks.scores import Names, Scores, constant, declare, put_in, scores_of
from onnxfp.errors import UsageError

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Drop:
    """The class has no column any more."""

    index: int | None = None
    """None for the last class, here and below."""


@dataclass(frozen=True)
class Mask:
    """The class keeps its column and has no chance."""

    index: int | None = None


@dataclass(frozen=True)
class Merge:
    """The probability of a class goes to another one; the class keeps its column and has no chance."""

    index: int | None = None
    into: int = 0


Change = Drop | Mask | Merge


@final
@dataclass(frozen=True)
class Reclassed(Step):
    """Change what is answered of one class."""

    change: Change

    @property
    def sources(self) -> tuple[int, int | None]:
        """One artifact."""
        return 1, 1

    def write(self, sources: Sequence[Path], destination: Path, rng: np.random.Generator, *, force: bool) -> None:
        """Put operators where the scores are made."""
        del rng
        restructure(Path(sources[0]), Path(destination), lambda model: reclass(model, self.change), force=force)


def reclass(model: onnx.ModelProto, change: Change) -> None:
    """Change what a model answers of one class, in place.

    Raises:
        UsageError: it is no classifier, or has no such class.
    """
    found = scores_of(model)
    classes = found[0].classes
    settled = _settled(change, classes)
    names = Names(names_of(model))
    for scores in found:
        put_in(model, scores, lambda logits, one, free: _nodes(settled, logits, one, free), names)
    declare(model, found, classes - 1 if isinstance(settled, Drop) else classes)


def _settled(change: Change, classes: int) -> Change:
    """Return the change with its class named, once it is sure that the model has it."""
    settled = replace(change, index=_known(classes - 1 if change.index is None else change.index, classes))
    match settled:
        case Drop() if classes == 2:
            raise UsageError("expected at least 3 classes to drop one, found 2; use mask_class")
        case Merge(index, into) if index == _known(into, classes):
            raise UsageError(f"expected two different classes to merge, found {index} twice; name another")
    return settled


def _known(index: int, classes: int) -> int:
    if index >= classes:
        raise UsageError(f"expected a class from 0 to {classes - 1}, found {index}; the model has {classes}")
    return index


def _nodes(change: Change, logits: str, scores: Scores, names: Names) -> tuple[list[Any], str]:
    writing = _Writing(scores, names, [])
    index = change.index or 0
    match change:
        case Drop():
            result = writing.columns(logits, [other for other in range(scores.classes) if other != index])
        case Mask():
            result = writing.hopeless(logits, index)
        case Merge():
            mine, theirs = writing.columns(logits, [index]), writing.columns(logits, [change.into])
            result = writing.hopeless(writing.where(change.into, writing.sum(mine, theirs), logits), index)
        case _:
            assert_never(change)
    return writing.nodes, result


@final
@dataclass(frozen=True)
class _Writing:
    """Operators on logits (samples, classes), in the order in which they are written."""

    scores: Scores
    names: Names
    nodes: list[Any]

    def columns(self, logits: str, indices: list[int]) -> str:
        """Some of the columns."""
        import onnx

        return self._node("Gather", logits, self._constant(onnx.TensorProto.INT64, [len(indices)], indices), axis=1)

    def sum(self, first: str, second: str) -> str:
        """Logits of the two probabilities together: log(exp a + exp b) = max(a, b) + log(1 + exp(-|a - b|))."""
        ratio = self._node("Exp", self._node("Neg", self._node("Abs", self._node("Sub", first, second))))
        more = self._node("Log", self._node("Add", ratio, self._constant(self.scores.element, [], [1.0])))
        return self._node("Add", self._node("Max", first, second), more)

    def where(self, index: int, value: str, logits: str) -> str:
        """The logits with another value in one column."""
        import onnx

        shape = [1, self.scores.classes] + [1] * (self.scores.rank - 2)
        here = self._constant(onnx.TensorProto.BOOL, shape, [at == index for at in range(self.scores.classes)])
        return self._node("Where", here, value, logits)

    def hopeless(self, logits: str, index: int) -> str:
        """The logits with half of the least finite number in one column: finite in a LogSoftmax, too."""
        lowest = _lowest(self.scores.element)
        return self.where(index, self._constant(self.scores.element, [], [lowest]), logits)

    def _constant(self, element: int, shape: list[int], values: list[Any]) -> str:
        name = self.names.fresh(f"{self.scores.name}_constant")
        self.nodes.append(constant(name, element, shape, values))
        return name

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        import onnx

        name = self.names.fresh(f"{self.scores.name}_{operator.lower()}")
        self.nodes.append(onnx.helper.make_node(operator, inputs, [name], **attributes))
        return name


def _lowest(element: int) -> float:
    import onnx

    if element == onnx.TensorProto.FLOAT16:
        return float(np.finfo(np.float16).min) / 2
    return float(np.finfo(np.float64 if element == onnx.TensorProto.DOUBLE else np.float32).min) / 2

"""Where the classes are in a value: which axis counts them, and what is known of the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from onnxfp.artifact.flow import Flow, Shape, called, refuse
from onnxfp.artifact.records import NodeRecord
from onnxfp.artifact.wire import shown

_UNSEEN = "shapes that say where the classes go"


@dataclass(frozen=True)
class Classes:
    """One axis of a value counts the classes."""

    count: int
    after: int
    """Axes that follow it."""
    shape: Shape | None
    """None: of unknown rank."""
    dtype: str
    """Element type."""
    answered: bool = False
    """Whether these are probabilities already."""

    @property
    def axis(self) -> int:
        """From the front where the rank is known, else from the back."""
        return -1 - self.after if self.shape is None else len(self.shape) - 1 - self.after

    @property
    def one_answer(self) -> bool:
        """Whether every example has one answer: nothing but ones after the classes."""
        return self.after == 0 or (self.shape is not None and product(self.shape[self.axis + 1 :]) == 1)

    def of_rank(self, node: NodeRecord) -> Shape:
        """Return the shape.

        Raises:
            UsageError: its rank is unknown.
        """
        if self.shape is None:
            refuse(_UNSEEN, f"none declared before {called(node)}")
        return self.shape

    def at(self, axis: int, node: NodeRecord) -> int:
        """Return an axis from the front, or from the back where the rank is unknown and it is given so."""
        return axis if axis < 0 and self.shape is None else axis % max(1, len(self.of_rank(node)))


def declared(flow: Flow, name: str, found: Classes) -> Classes:
    """Add what the file declares of a value.

    Raises:
        UsageError: the declaration contradicts the graph.
    """
    shape = flow.shapes.get(name)
    if shape is None:
        return found
    axis = len(shape) - 1 - found.after
    contradicts = axis < 0 or shape[axis] not in (None, found.count)
    if contradicts or (found.shape is not None and len(found.shape) != len(shape)):
        refuse(f"a declared shape of '{shown(name)}' with {found.count} classes", f"{list(shape)}")
    known = found.shape or (None,) * len(shape)
    extents = [mine if mine is not None else theirs for mine, theirs in zip(known, shape, strict=True)]
    extents[axis] = found.count
    return replace(found, shape=tuple(extents))


def product(extents: Shape) -> int | None:
    """Return how many elements there are, or None if an extent is unknown."""
    return None if None in extents else prod(extent for extent in extents if extent is not None)


def without(found: Classes, axes: set[int]) -> Classes:
    """Return what is left of a value without some of its other axes."""
    kept = tuple(extent for axis, extent in enumerate(found.shape or ()) if axis not in axes)
    return replace(found, shape=kept, after=found.after - sum(axis > found.axis for axis in axes))


def by_declaration(flow: Flow, node: NodeRecord, found: Classes) -> Classes:
    """Trust the declared shape of a view, where only one axis can be the classes.

    Raises:
        UsageError: none is declared, or several could be.
    """
    shape = flow.shapes.get(node.outputs[0], ())
    axes = [axis for axis, extent in enumerate(shape) if extent == found.count]
    others = [extent for extent in shape if extent not in (1, found.count)]
    if len(axes) != 1 or len(others) > 1:
        refuse(_UNSEEN, f"{called(node)}, which hides it")
    return replace(found, shape=shape, after=len(shape) - 1 - axes[0])

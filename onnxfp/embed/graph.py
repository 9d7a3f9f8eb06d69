"""A computation as plain records with its values: all that training needs of an artifact, and nothing of its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Node:
    """One operation."""

    operator: str
    domain: str
    """Empty for the standard operators."""
    name: str
    """Empty when the file gives none."""
    inputs: tuple[str, ...]
    """Empty names stand for optional inputs that are not given."""
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    """Numbers, text, tuples of them, arrays for tensors; a subgraph is a `Graph`."""


@dataclass(frozen=True)
class Graph:
    """Nodes in the order of the file, and every constant that they refer to."""

    inputs: tuple[str, ...]
    """Values that the caller supplies; initializers are not among them."""
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    tensors: Mapping[str, npt.NDArray[np.generic]]
    """Initializers by the name that nodes use, in their own element type."""
    opset: int
    """Version of the standard operators."""

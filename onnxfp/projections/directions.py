"""Keyed directions in a head: what each of some classes gains along each of them.

A head maps features (features,) to one number per class. Along a unit vector `u` of features, row c of a change `D` of
the head gains `D[c] . u`; with orthonormal directions these gains are coefficients, and the smallest change that has
given gains is their sum of outer products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import final

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Floats, Weights
from onnxfp.keys.keystream import Keystream

_STEPS = 2.0**24  # to one: libraries of linear algebra differ by far less than one step


@final
@dataclass(frozen=True)
class Directions:
    """Orthonormal directions within a given space; positions are (count, classes) in a row."""

    keystream: Keystream
    shape: tuple[int, ...]
    """Of the head's weights."""
    axis: int
    """The axis that counts classes."""
    classes: npt.NDArray[np.int64]
    """(alphabet,): those that are looked at, ascending."""
    within: Floats
    """(features, count): orthonormal columns; the directions are these, turned by key."""

    def __post_init__(self) -> None:
        if self.within.ndim != 2 or len(self.within) != self._features or not 0 < self.count <= self._features:
            raise ValueError(f"columns of shape {self.within.shape} span no directions of {self._features} features")

    @property
    def count(self) -> int:
        """Number of directions."""
        return int(self.within.shape[1])

    @property
    def positions(self) -> int:
        """Number of coefficients."""
        return self.count * len(self.classes)

    @property
    def size(self) -> int:
        """Number of weights taken: the whole head."""
        return prod(self.shape)

    def apply(self, residual: Weights) -> Floats:
        """Return the gains (count * alphabet,) of a change of the head (size,)."""
        rows = np.moveaxis(residual.reshape(self.shape), self.axis, 0).reshape(self.shape[self.axis], -1)
        gains: Floats = self._basis @ rows[self.classes].T.astype(np.float64)
        return gains.reshape(-1)

    def adjoint(self, values: Floats) -> Weights:
        """Return the smallest change (size,) that has these gains; directions at right angles make it the transpose."""
        rows = np.zeros((self.shape[self.axis], self._features), dtype=np.float32)
        rows[self.classes] = values.reshape(self.count, len(self.classes)).T @ self._basis
        kept = [extent for axis, extent in enumerate(self.shape) if axis != self.axis]
        return np.ascontiguousarray(np.moveaxis(rows.reshape(-1, *kept), 0, self.axis)).reshape(-1)

    def min_norm_update(self, values: Floats) -> Weights:
        """Return the smallest change (size,) that has these gains."""
        return self.adjoint(values)

    @property
    def _features(self) -> int:
        return prod(self.shape) // self.shape[self.axis]

    @cached_property
    def _basis(self) -> Floats:
        """Return (count, features), its rows orthonormal; rounded, so that every machine writes the same bytes."""
        normal = self.keystream.derive("directions").normals(self.count**2).reshape(self.count, self.count)
        turn, triangle = np.linalg.qr(normal)
        directions: Floats = np.rint((self.within @ (turn * np.sign(np.diag(triangle)))).T * _STEPS) / _STEPS
        return directions

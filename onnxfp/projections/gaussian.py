"""DeepMarks' projection: the average of a carrier over its filters, seen along a secret random basis.

Paper: Chen et al., "DeepMarks", ICMR 2019, after Uchida et al. 2017: w is the carrier averaged over its output axis
and flattened, X a secret matrix of standard normal numbers, U a secret orthonormal basis (QR of a normal matrix);
the coefficients of `X w` in that basis are `b = U^T X w`.
Departs: `min_norm_update` reaches given coefficients in closed form, where the paper adds gamma * MSE(f, X w) to the
training loss; coefficients are measured in the unit that moves each weight by about one in the root mean square,
where the paper leaves X unscaled; X and U come from the keyed stream, and U's columns are signed so that it is
uniformly distributed and the same whatever library factorises it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import final

import numpy as np

from onnxfp.domain import Floats, Weights
from onnxfp.keys.keystream import Keystream


@final
@dataclass(frozen=True)
class Gaussian:
    """`positions` coefficients of the whole carrier of `shape`, averaged over its output `axis`."""

    keystream: Keystream
    shape: tuple[int, ...]
    axis: int
    positions: int

    def __post_init__(self) -> None:
        if not 0 < self.positions <= self.features:
            raise ValueError(
                f"{self.positions} positions cannot be told apart in {self.features} averaged weights: the matrix "
                "has no higher rank"
            )

    @property
    def size(self) -> int:
        """Number of weights taken."""
        return prod(self.shape)

    @property
    def features(self) -> int:
        """M, the number of weights that are left after averaging."""
        return averaged_size(self.shape, self.axis)

    @property
    def scale(self) -> float:
        """Factor that lets a unit coefficient move each weight by one unit in the root mean square.

        Exact in the limit of many features per position; with few the move is larger.
        """
        return float(np.sqrt(self.positions)) / self.features

    def apply(self, residual: Weights) -> Floats:
        """Average weights (size,) over the output axis and project: (positions,)."""
        mean = residual.reshape(self.shape).mean(axis=self.axis, dtype=np.float64)
        coefficients: Floats = self._matrix() @ mean.reshape(-1)
        return coefficients

    def adjoint(self, values: Floats) -> Weights:
        """Map values (positions,) back to all filters alike (size,); the transpose of `apply`."""
        return self._to_all_filters(values @ self._matrix() / self.shape[self.axis])

    def min_norm_update(self, values: Floats) -> Weights:
        """Return the smallest change (size,) that reads as `values` (positions,): the same in every filter."""
        basis, triangle = np.linalg.qr(self._matrix().T)
        return self._to_all_filters(basis @ np.linalg.solve(triangle.T, values))

    def _to_all_filters(self, mean: Floats) -> Weights:
        kept = list(self.shape)
        kept[self.axis] = 1
        return np.broadcast_to(mean.reshape(kept), self.shape).reshape(-1).astype(np.float32)

    def _matrix(self) -> Floats:
        """Return U^T X, scaled: (positions, features)."""
        rows, columns = self.positions, self.features
        projection = self.keystream.derive("projection").normals(rows * columns).reshape(rows, columns)
        normal = self.keystream.derive("basis").normals(rows * rows).reshape(rows, rows)
        basis, triangle = np.linalg.qr(normal)
        basis *= np.sign(np.diag(triangle))
        matrix: Floats = basis.T @ projection * self.scale
        return matrix


def averaged_size(shape: tuple[int, ...], axis: int) -> int:
    """Return M: the weights of a carrier of this shape that are left after averaging over its output axis."""
    return prod(shape) // shape[axis] if prod(shape) else 0

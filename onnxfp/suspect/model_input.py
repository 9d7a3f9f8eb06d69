"""What a model takes, and inputs made to fit it: cast where nothing is lost, filled up to a fixed length of batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Rows
from onnxfp.errors import UsageError

Inputs = npt.NDArray[np.generic]
_TYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


class Unfit(UsageError):
    """The inputs are for models of another form: their shape is not what the model takes."""


@dataclass(frozen=True)
class ModelInput:
    """The one input of a model that runs."""

    name: str
    shape: tuple[int | None, ...]
    """Batches first; None where any length will do."""
    dtype: str
    """As numpy calls it, or as onnxruntime does where numpy has no such type."""

    @property
    def batch(self) -> int | None:
        """The only length of a batch that it takes, or None."""
        return (self.shape[0] or None) if self.shape else None


def numpy_type(kind: str) -> str:
    """Return numpy's name for a type of onnxruntime's, or the type itself where there is none."""
    return _TYPES.get(kind, kind)


def check_fits(inputs: Rows, takes: ModelInput) -> None:
    """Refuse inputs that the model cannot take, whatever their values.

    Raises:
        Unfit: says both shapes.
        UsageError: says both types.
    """
    if takes.dtype not in _TYPES.values():
        raise UsageError(f"it takes {takes.dtype}, which has no numpy type; use a model with another input")
    if inputs.dtype.kind not in "biuf":
        raise UsageError(f"it takes {takes.dtype}, they are {inputs.dtype}; give numbers")
    if not len(inputs.shape) or not len(inputs):
        raise UsageError("there are none; give at least one")
    # A model that does not say how many axes it takes says for itself whether these are right.
    mine, theirs = inputs.shape[1:], takes.shape[1:]
    wrong = len(mine) != len(theirs) or any(there not in (None, here) for here, there in zip(mine, theirs, strict=True))
    if takes.shape and wrong:
        raise Unfit(f"it takes shape {_shown(takes.shape)}, they are {_shown((None, *mine))}; bring them into it")


def fitted(inputs: Inputs, takes: ModelInput) -> npt.NDArray[Any]:
    """Return a batch as the model takes it: its type, and its length, filled up with the last input.

    Raises:
        UsageError: a cast would change a value.
    """
    batch = cast(inputs, takes.dtype)
    missing = (takes.batch or 0) - len(batch)
    return np.concatenate([batch, *[batch[-1:]] * missing]) if missing > 0 else batch


def cast(values: Inputs, dtype: str) -> npt.NDArray[Any]:
    """Return the values in another type: the same values, except that half precision may round them.

    Raises:
        UsageError: a value would become another one.
    """
    if values.dtype == dtype:
        return np.ascontiguousarray(values)
    with np.errstate(all="ignore"):
        changed = values.astype(dtype)
        back = changed.astype(values.dtype)
        rounds = dtype == "float16" and values.dtype.kind == "f"
        same = np.isfinite(changed) == np.isfinite(values) if rounds else _same(values, changed, back)
    if not same.all():
        raise UsageError(f"it takes {dtype}, they are {values.dtype} and would lose digits; convert them yourself")
    return changed


def _same(values: npt.NDArray[Any], changed: npt.NDArray[Any], back: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Compare there and back: large integers have no float of their own, and a wrap-around changes the sign."""
    both_nan = (values != values) & (changed != changed)  # noqa: PLR0124 # integers have no isnan
    same: npt.NDArray[np.bool_] = both_nan | ((values == back) & ((values < 0) == (changed < 0)))
    return same


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('n' if side is None else str(side) for side in shape)}]"

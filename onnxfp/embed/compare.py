"""Whether an interpreted graph says what the artifact says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Floats
from onnxfp.embed.task import Module
from onnxfp.errors import UsageError

TOLERANCE = 1e-4  # of the largest output, or of 1


def outputs_of(module: Module, inputs: npt.NDArray[Any]) -> Floats:
    """Return the first output of a module for inputs (samples, ...): (samples, features).

    Raises:
        UsageError: the graph does something that the interpreter learns of only now.
    """
    import torch

    try:
        with torch.no_grad():
            answers = module(torch.from_numpy(np.ascontiguousarray(inputs)))[0]
    except (RuntimeError, ValueError, IndexError, TypeError) as problem:
        reason = str(problem).partition("\n")[0][:200]
        raise UsageError(f"the graph cannot be interpreted for inputs of shape {inputs.shape}: {reason}") from problem
    values: Floats = answers.double().cpu().numpy().reshape(len(inputs), -1)
    return values


def difference(module: Module, inputs: npt.NDArray[Any], expected: Floats) -> float:
    """Return the largest difference between a module's outputs and those expected, as a share of the largest.

    Raises:
        UsageError: it is more than rounding explains.
    """
    found = outputs_of(module, inputs)
    if found.shape != expected.shape:
        raise UsageError(
            f"the interpreted graph answers {found.shape}, onnxruntime {expected.shape}: it cannot be tuned"
        )
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    apart = float(np.abs(found - expected).max(initial=0.0)) / scale
    if not apart <= TOLERANCE:
        raise UsageError(
            f"the interpreted graph differs from onnxruntime by {apart:.2g} of the largest output, more than the "
            f"{TOLERANCE:g} that rounding explains: it cannot be tuned faithfully"
        )
    return apart

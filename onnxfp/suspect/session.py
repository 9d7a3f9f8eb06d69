"""A sealed suspect on this machine: an onnxruntime session that is only ever given inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.errors import ArtifactError, UsageError

_BATCH = 256


@dataclass(frozen=True)
class Session:
    """A model that can be run. Made by `open_session`."""

    path: Path
    session: Any

    def outputs(self, inputs: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """Return the first output for a batch of inputs (samples, ...): (samples, features).

        Raises:
            UsageError: the inputs do not fit the model.
        """
        name = self.session.get_inputs()[0].name
        try:
            parts = [
                np.asarray(self.session.run(None, {name: inputs[at : at + _BATCH]})[0], dtype=np.float64)
                for at in range(0, len(inputs), _BATCH)
            ]
        except Exception as problem:  # onnxruntime raises types of its own, without a common root
            raise UsageError(f"{self.path} does not take these inputs: {_first_line(problem)}") from problem
        return np.concatenate(parts).reshape(len(inputs), -1)

    @property
    def provider(self) -> str:
        """Where it runs."""
        return str(self.session.get_providers()[0])


def open_session(path: Path) -> Session:
    """Open a model for running on the CPU.

    Raises:
        UsageError: onnxruntime is not installed.
        ArtifactError: onnxruntime cannot load the model.
    """
    try:
        import onnxruntime as ort
    except ImportError as problem:
        raise UsageError("running a model needs onnxruntime; install `onnxfp[runtime]`") from problem
    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        return Session(path, ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))
    except Exception as problem:  # onnxruntime raises types of its own, without a common root
        raise ArtifactError(f"{path} cannot be run: {_first_line(problem)}") from problem


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0][:200]

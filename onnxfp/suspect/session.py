"""A sealed suspect on this machine: onnxruntime in a confined child process that is only ever given inputs.

The model is opened in the child, after it has given up what it does not need (`confinement`); a model that crashes it,
fills its memory or never ends costs this process a reason, not its life.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self, assert_never, final

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Answered, Probe, QueryProbe, Response, Rows, Unanswered, WeightProbe
from onnxfp.errors import ArtifactError, OnnxfpError, UsageError
from onnxfp.suspect.channel import TooLarge
from onnxfp.suspect.gathered import Output, TooMuch
from onnxfp.suspect.limits import DEFAULT, Limits
from onnxfp.suspect.model_input import ModelInput, Unfit
from onnxfp.suspect.outputs import Unreadable, class_answers
from onnxfp.suspect.providers import DEVICES
from onnxfp.suspect.running import Running, start_running
from onnxfp.suspect.worker import Lost, Worker, start_worker

__all__ = ["Limits", "ModelInput", "Session", "open_session"]


@final
class Session:
    """A model that can be run; made by `open_session`. Not for two threads at once."""

    def __init__(self, path: Path, worker: Worker, running: Running | str, device: str) -> None:
        self._path = path
        self._worker = worker
        self._running = running
        self._device = device

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """End the process that runs the model."""
        self._worker.close()

    @property
    def provider(self) -> str:
        """The execution provider that really runs the model; empty when it could not be opened."""
        return "" if isinstance(self._running, str) else self._running.known.provider

    @property
    def fallback(self) -> str:
        """Says so when the device that was named is not the one that runs the model; else empty."""
        wanted = DEVICES.get(self._device, self.provider)
        return f"{self._device} was asked for, {self.provider} runs it" if self.provider not in ("", wanted) else ""

    @property
    def input(self) -> ModelInput:
        """What it takes; nothing when it could not be opened."""
        return ModelInput("", (), "") if isinstance(self._running, str) else self._running.known.input

    def answer(self, probe: Probe) -> Response:
        """Answer with labels or log-probabilities, or say why not."""
        match probe:
            case WeightProbe():
                return Unanswered("it is only asked for outputs; its weights are not read")
            case QueryProbe():
                try:
                    outputs = self._outputs(probe.inputs)
                    return Answered(class_answers(outputs, len(probe.inputs)), provider=self.provider)
                except Unfit as problem:
                    return Unanswered(str(problem), unfit=True)
                except (OnnxfpError, Unreadable) as problem:
                    return Unanswered(str(problem))
        assert_never(probe)

    def outputs(self, inputs: Rows) -> npt.NDArray[np.float64]:
        """Return the first output for inputs (samples, ...): (samples, features).

        Raises:
            UsageError: the inputs do not fit the model, or its output is not one row for each of them.
            ArtifactError: the model cannot be run.
        """
        name, values = self._outputs(inputs, everything=True)[0]
        if values.dtype.kind not in "biuf" or not values.ndim or len(values) != len(inputs):
            raise UsageError(
                f"{self._path} gives {ascii(name)[:60]} as {values.dtype} {list(values.shape)}, "
                f"expected a row of numbers for each of {len(inputs)} inputs"
            )
        return values.reshape(len(inputs), -1).astype(np.float64)

    def _outputs(self, inputs: Rows, *, everything: bool = False) -> list[tuple[str, Output]]:
        if isinstance(self._running, str):
            raise ArtifactError(f"{self._path} cannot be run: {self._running}")
        try:
            return self._running.outputs(inputs, everything=everything)
        except Unfit as problem:
            raise Unfit(f"{self._path} does not take these inputs: {problem}") from problem
        except (UsageError, TooLarge, TooMuch) as problem:
            raise UsageError(f"{self._path} does not take these inputs: {problem}") from problem
        except Lost as problem:
            raise ArtifactError(f"{self._path} cannot be run: {problem}") from problem


def open_session(
    path: Path, *, device: str = "auto", require_device: bool = False, limits: Limits = DEFAULT
) -> Session:
    """Open a model in a confined process of its own; a model that cannot be opened says so when it is asked.

    Args:
        path: the model; external data lies beside it.
        device: `auto` for CUDA where it works and else the CPU; or `cpu`, `cuda`, `tensorrt`.
        require_device: refuse to run on anything but the device that was named.
        limits: what it may take.

    Raises:
        UsageError: onnxruntime is not installed, there is no such device, or the one required is not used.
        ArtifactError: there is no such file.
    """
    if device != "auto" and device not in DEVICES:
        raise UsageError(f"there is no device {device!r}; choose auto, {', '.join(DEVICES)}")
    try:
        path.stat()
    except OSError as problem:
        raise ArtifactError(f"{path} cannot be read: {problem.strerror or problem}; check the path") from problem
    worker = start_worker()
    try:
        running = start_running(worker, path, device, limits)
    except BaseException:
        worker.close()
        raise
    session = Session(path, worker, running, device)
    if require_device and session.fallback:
        session.close()
        raise UsageError(f"{path}: {session.fallback}; run `onnxfp doctor`, or do not require the device")
    return session

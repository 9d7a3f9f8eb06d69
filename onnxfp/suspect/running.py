"""A model that a child has opened: asked batch by batch."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

import numpy as np

from onnxfp.domain import Rows
from onnxfp.errors import UsageError
from onnxfp.suspect.channel import ROOM, TooLarge
from onnxfp.suspect.facts import Facts, Implausible, Installed, facts, installed, one_line
from onnxfp.suspect.gathered import Gathered, Output
from onnxfp.suspect.limits import DEFAULT, LEAST, Limits, memory_of
from onnxfp.suspect.model_input import check_fits, fitted
from onnxfp.suspect.worker import Lost, Worker, start_worker

_BATCH = 256
_FIRST = 16
"""Inputs of the first batch; of all, when it takes more than their share of the time for a batch, twice over."""


@final
class Running:
    """A model that runs; `start_running` makes one."""

    def __init__(self, worker: Worker, limits: Limits, known: Facts, resident: int) -> None:
        self.known = known
        self._worker = worker
        self._limits = limits
        self._resident = resident
        self._batch = _FIRST

    def outputs(self, inputs: Rows, *, everything: bool) -> list[tuple[str, Output]]:
        """Return what the model says to inputs (samples, ...): with `everything` its first output, whatever its shape.

        Raises:
            UsageError: it does not take them.
            TooLarge: the outputs of one input are.
            TooMuch: all of them are.
            Lost: it cannot be run any more.
        """
        self._check(inputs)
        wanted = 1 if everything else len(self.known.outputs)
        gathered = Gathered(self.known.outputs[:wanted], everything=everything)
        for outputs, sent, samples in self._batches(inputs):
            if len(outputs) != len(self.known.outputs):
                self._worker.close(f"it has {len(self.known.outputs)} outputs and returned {len(outputs)}")
                raise Lost(f"it has {len(self.known.outputs)} outputs and returned {len(outputs)}")
            gathered.add(outputs[:wanted], sent, samples)
        return gathered.outputs()

    def _check(self, inputs: Rows) -> None:
        if self.known.count != 1:
            names = ", ".join(ascii(name)[:40] for name in self.known.inputs)
            raise UsageError(f"it takes {self.known.count} inputs ({names}), expected one")
        check_fits(inputs, self.known.input)
        if self._each(inputs) * (self.known.input.batch or 1) > ROOM:
            raise UsageError(f"a batch of {self.known.input.batch or 1} takes more than {ROOM >> 20} MiB")

    def _each(self, inputs: Rows) -> int:
        return max(1, math.prod(inputs.shape[1:]) * np.dtype(self.known.input.dtype).itemsize)

    def _batches(self, inputs: Rows) -> Iterator[tuple[Sequence[Output], int, int]]:
        """Yield the outputs for one batch after another, how many inputs were sent, and how many of them count."""
        at, fixed = 0, self.known.input.batch
        while at < len(inputs):
            size = fixed or max(1, min(self._batch, ROOM // self._each(inputs)))
            batch = fitted(inputs[at : at + size], self.known.input)
            outputs = self._ask(batch)
            if not isinstance(outputs, int):
                yield outputs, len(batch), min(size, len(inputs) - at)
                at += size
            elif fixed or len(batch) == 1:
                raise TooLarge(f"its outputs for {len(batch)} take more than {ROOM >> 20} MiB")
            else:
                self._batch = max(1, min(len(batch) - 1, len(batch) * ROOM // outputs))

    def _ask(self, batch: Output) -> Sequence[Output] | int:
        """Return the outputs for a batch or, if they are too large, their size."""
        began = time.monotonic()
        message, outputs = self._worker.ask(
            {"name": self.known.input.name}, [batch], seconds=self._limits.answer_s, resident=self._resident
        )
        if "failed" in message:
            raise UsageError(one_line(message["failed"]))
        if "large" in message:
            return message["large"] if type(message["large"]) is int and message["large"] > 0 else 1
        if self._batch == _FIRST and time.monotonic() - began < self._limits.answer_s * _FIRST / _BATCH / 2:
            self._batch = _BATCH
        return outputs


def start_running(worker: Worker, path: Path, device: str, limits: Limits) -> Running | str:
    """Let a child open a model; return why not, if it cannot be opened."""
    memory = memory_of(path, limits)
    try:
        said = _first(worker, str(path.resolve()), device, memory, limits)
        # An accelerator's address space has no limit; what is in use of it, with the libraries, has.
        return Running(worker, limits, facts(said), memory if said.get("device") is True else 0)
    except (Lost, Implausible, UsageError) as problem:
        worker.close(str(problem))
        return str(problem)


def look_around(device: str, limits: Limits = DEFAULT) -> Installed:
    """Let a child confine itself as for a device, and say what it found there.

    Raises:
        UsageError: onnxruntime does not load.
    """
    worker = start_worker()
    try:
        return installed(_first(worker, "", device, limits.memory_bytes or LEAST, limits))
    except (Lost, Implausible) as problem:
        raise UsageError(f"onnxruntime does not load: {problem}") from problem
    finally:
        worker.close()


def _first(worker: Worker, path: str, device: str, memory: int, limits: Limits) -> dict[str, object]:
    # The kernel ends a child with the thread that started it: only the main thread lasts as long as the program.
    parent = os.getpid() if threading.current_thread() is threading.main_thread() else 0
    order = {"path": path, "device": device, "memory": memory, "parent": parent}
    said, _ = worker.ask(order, seconds=limits.start_s)
    if "failed" in said:
        raise UsageError(one_line(said["failed"]))
    return said

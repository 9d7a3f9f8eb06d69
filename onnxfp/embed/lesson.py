"""All that stays the same during a training: the reference's answers, the triggers, the terms. Refuses what cannot be.

Examples are never copied as a whole: a batch is taken from the caller's arrays by its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, assert_never, final

import numpy as np
import torch

from onnxfp.domain import Constraint, Membership, OutputTarget, WeightTarget
from onnxfp.embed.task import Inputs, Labels, Module, Task, Tuning
from onnxfp.embed.terms import WeightTerm, log_probabilities, weight_term
from onnxfp.errors import UsageError

_BLOCK = 256  # samples that are asked at a time


@final
@dataclass(frozen=True)
class Triggers:
    """The inputs of all output targets in a row, each left where it lies."""

    targets: tuple[OutputTarget, ...]

    @property
    def labels(self) -> Labels:
        """(samples,)."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *(target.labels for target in self.targets)])

    def take(self, rows: Labels) -> Inputs:
        """Copy these rows, in this order."""
        edges = np.cumsum([0] + [len(target.inputs) for target in self.targets])
        taken = np.empty((len(rows), *self.targets[0].inputs.shape[1:]), dtype=self.targets[0].inputs.dtype)
        for target, start, stop in zip(self.targets, edges, edges[1:], strict=False):
            here = (rows >= start) & (rows < stop)
            taken[here] = target.inputs[rows[here] - start]
        return taken


@final
@dataclass(frozen=True)
class Lesson:
    """A module, what it shall keep, and what it shall learn."""

    module: Module
    task: Task
    tuning: Tuning
    triggers: Triggers
    terms: tuple[WeightTerm, ...]
    logits: bool
    """Whether the first output is logits; probabilities otherwise."""
    answers: torch.Tensor
    """(samples, classes): the reference's log-probabilities on the task's inputs, on the CPU."""
    truth: Labels
    """What counts as right on the validation inputs."""
    before: float

    def ask(self, inputs: Inputs) -> torch.Tensor:
        """Return the module's log-probabilities."""
        images = on(self.tuning.device, inputs)
        if self.tuning.precision == "bf16" and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)  # a third faster in this precision
        return log_probabilities(self.module(images)[0], logits=self.logits)


def lesson(module: Module, constraints: Sequence[Constraint], task: Task, tuning: Tuning) -> Lesson:
    """Ask the reference, and return what a training needs.

    Raises:
        UsageError: the data, the constraints and the module do not fit one another.
    """
    triggers = Triggers(tuple(c for c in constraints if isinstance(c, OutputTarget)))
    _check_data(triggers, task)
    outputs = _outputs(module, task.inputs, tuning.device)
    _check_gradient(module, task, tuning.device)
    logits = not _are_probabilities(outputs)
    _check_labels(outputs.shape[1], {"trigger": triggers.labels, "task": task.labels, "validation": task.val_labels})
    judged = _outputs(module, task.val_inputs, tuning.device).argmax(dim=1).numpy()
    truth = judged if task.val_labels is None else task.val_labels
    return Lesson(
        module,
        task,
        tuning,
        triggers,
        tuple(weight_term(target, module.weights, tuning.rate) for target in _weight_targets(constraints)),
        logits,
        log_probabilities(outputs, logits=logits),
        truth,
        float(np.mean(judged == truth)),
    )


def on(device: str, array: np.ndarray) -> torch.Tensor:
    """Move freshly taken rows to the device."""
    tensor = torch.from_numpy(array)
    return tensor if device == "cpu" else tensor.to(device)


def blocks(count: int) -> Iterator[Labels]:
    """Yield the rows of a set in order, some at a time."""
    for start in range(0, count, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, count))


def _weight_targets(constraints: Sequence[Constraint]) -> Iterator[WeightTarget]:
    for constraint in constraints:
        match constraint:
            case WeightTarget():
                yield constraint
            case OutputTarget():
                pass
            case Membership():
                raise UsageError("fine-tuning cannot make a model a member of data; use a scheme that marks training")
            case _:
                assert_never(constraint)


def _check_data(triggers: Triggers, task: Task) -> None:
    sets: list[tuple[str, Inputs, Labels | None]] = [
        ("task", task.inputs, task.labels),
        ("validation", task.val_inputs, task.val_labels),
        *(("trigger", target.inputs, target.labels) for target in triggers.targets),
    ]
    like = task.inputs
    for name, inputs, labels in sets:
        if len(inputs) == 0:
            raise UsageError(f"the {name} inputs are empty")
        if inputs.shape[1:] != like.shape[1:] or inputs.dtype != like.dtype:
            raise UsageError(f"the {name} inputs are {_kind(inputs)} each, the task's are {_kind(like)}")
        if labels is not None and labels.shape != (len(inputs),):
            raise UsageError(f"there are {len(inputs)} {name} inputs but labels of shape {labels.shape}")


def _kind(inputs: Inputs) -> str:
    return f"{inputs.dtype} of shape {inputs.shape[1:]}"


def _check_labels(classes: int, sets: dict[str, Labels | None]) -> None:
    for name, labels in sets.items():
        if labels is not None and len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            found = f"{labels.min()} to {labels.max()}"
            raise UsageError(f"{name} labels run from {found}, but the model has classes 0 to {classes - 1}")


def _outputs(module: Module, inputs: Inputs, device: str) -> torch.Tensor:
    """What the reference says, (samples, classes) in float32 on the CPU."""
    answers = []
    with torch.no_grad():
        for rows in blocks(len(inputs)):
            answers.append(_first(module, on(device, inputs[rows])).float().cpu())
            if not torch.isfinite(answers[-1]).all():
                raise UsageError("the model answers some inputs with numbers that are not finite")
    return torch.cat(answers)


def _check_gradient(module: Module, task: Task, device: str) -> None:
    with torch.enable_grad():
        answers = _first(module, on(device, task.inputs[:2]))
    if not answers.requires_grad:
        raise UsageError(
            "the model's answers are of a kind that no gradient passes, such as labels or rounded numbers; "
            "use a scheme that needs no training, or mark the model that gives scores"
        )


def _first(module: Module, inputs: torch.Tensor) -> Any:
    try:
        output = module(inputs)[0]
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"the model cannot take inputs of shape {tuple(inputs.shape)}: {reason}") from error
    if output.ndim != 2 or len(output) != len(inputs) or output.shape[1] < 2 or not output.is_floating_point():
        raise UsageError(
            f"a classifier answers {len(inputs)} inputs with ({len(inputs)}, classes) numbers; this model's first "
            f"output is {tuple(output.shape)}"
        )
    return output


def _are_probabilities(outputs: torch.Tensor) -> bool:
    return bool(outputs.min() >= 0 and (outputs.sum(dim=1) - 1).abs().max() < 1e-2)

"""All that stays the same during a training: the reference's answers, the triggers, the terms. Refuses what cannot be.

Examples are never copied as a whole: a batch is taken from the caller's arrays by its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never, final

import numpy as np
import numpy.typing as npt
import torch

from onnxfp.domain import Constraint, KeptAnswers, Membership, OutputTarget, ProgrammedAnswers, WeightTarget
from onnxfp.embed.programmes import Programme, Words, draw_words
from onnxfp.embed.task import Inputs, Labels, Module, Task, Tuning
from onnxfp.embed.terms import WeightTerm, log_probabilities, weight_term
from onnxfp.errors import UsageError

_BLOCK = 256  # samples that are asked at a time
_TRIALS = 2  # words under which a module that is to bear any word is judged

Taught = OutputTarget | KeptAnswers | ProgrammedAnswers


@final
@dataclass(frozen=True)
class Triggers:
    """The inputs of all constraints on answers in a row, each left where it lies."""

    inputs: tuple[Inputs, ...] = ()
    """One (samples, ...) per constraint."""
    labels: Labels = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """(samples,): what shall be answered."""
    kept: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """(samples,): which shall be answered as the reference does, and not only with its label."""
    answers: torch.Tensor = field(default_factory=lambda: torch.zeros(0, 0))
    """(samples, classes): the reference's log-probabilities where they are to be kept, on the CPU."""
    programmes: tuple[Programme, ...] = ()
    """Whose labels follow the word that is written, whatever stands in `labels`."""

    def take(self, rows: Labels) -> Inputs:
        """Copy these rows, in this order."""
        edges = np.cumsum([0] + [len(inputs) for inputs in self.inputs])
        taken = np.empty((len(rows), *self.inputs[0].shape[1:]), dtype=self.inputs[0].dtype)
        for inputs, start, stop in zip(self.inputs, edges, edges[1:], strict=False):
            here = (rows >= start) & (rows < stop)
            taken[here] = inputs[rows[here] - start]
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
    trials: tuple[Words, ...]
    """Words under which the module is judged; a single empty one when none is ever written."""

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
    taught = [constraint for constraint in constraints if isinstance(constraint, Taught)]
    _check_data(taught, task)
    outputs = _outputs(module, task.inputs, tuning.device)
    _check_gradient(module, task, tuning.device)
    logits = not _are_probabilities(outputs)
    triggers = _triggers(taught, module, tuning.device, logits=logits)
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
        _trials(triggers.programmes, tuning.seed),
    )


def _trials(programmes: Sequence[Programme], seed: int) -> tuple[Words, ...]:
    random = torch.Generator().manual_seed(seed)
    return tuple(draw_words(programmes, random) for _ in range(_TRIALS)) if programmes else ((),)


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
            case OutputTarget() | KeptAnswers() | ProgrammedAnswers():
                pass
            case Membership():
                raise UsageError("fine-tuning cannot make a model a member of data; use a scheme that marks training")
            case _:
                assert_never(constraint)


def _triggers(constraints: Sequence[Taught], module: Module, device: str, *, logits: bool) -> Triggers:
    """Ask the reference what it answers to what it shall go on answering."""
    if not constraints:
        return Triggers()
    labels, kept, answers, programmes = [], [], [], []
    for constraint in constraints:
        said = torch.zeros(len(constraint.inputs), 0)
        match constraint:
            case OutputTarget():
                labels.append(constraint.labels)
            case KeptAnswers():
                said = log_probabilities(_outputs(module, constraint.inputs, device), logits=logits)
                labels.append(said.argmax(dim=1).numpy())
            case ProgrammedAnswers():
                programmes.append(Programme(constraint, sum(map(len, labels))))
                labels.append(constraint.classes[np.zeros(len(constraint.inputs), dtype=np.int64)])
            case _:
                assert_never(constraint)
        answers.append(said)
        kept.append(np.full(len(constraint.inputs), said.shape[1] > 0))
    width = max(said.shape[1] for said in answers)
    wanted = torch.cat([said if said.shape[1] else torch.zeros(len(said), width) for said in answers])
    inputs = tuple(one.inputs for one in constraints)
    return Triggers(inputs, np.concatenate(labels), np.concatenate(kept), wanted, tuple(programmes))


def _check_data(taught: Sequence[Taught], task: Task) -> None:
    sets: list[tuple[str, Inputs, Labels | None]] = [
        ("task", task.inputs, task.labels),
        ("validation", task.val_inputs, task.val_labels),
        *(("trigger", one.inputs, getattr(one, "labels", None)) for one in taught),
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

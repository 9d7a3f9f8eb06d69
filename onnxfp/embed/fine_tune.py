"""Fine-tuning: constraints in, tuned weights out. Triggers and weight targets are taught, the rest stays as it was.

A module learns from its own answers on the task's examples (distillation), so that labels are not needed, and beside
them the labels of the triggers. It knows nothing of files or of ONNX.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxfp.domain import Constraint
from onnxfp.embed.checkpoint import Arrays, Checkpoint, settings
from onnxfp.embed.task import Module, Task, Tuned, Tuning
from onnxfp.errors import FidelityError, UsageError

if TYPE_CHECKING:
    from onnxfp.embed.lesson import Lesson

__all__ = ["Module", "Task", "Tuned", "Tuning", "fine_tune", "rehearse"]

_FEW = 64  # examples that are tried in a rehearsal


def fine_tune(
    module: Module,
    constraints: Sequence[Constraint],
    task: Task,
    tuning: Tuning,
    *,
    checkpoint: Path | None = None,
    progress: Callable[[str], None],
) -> Tuned:
    """Return the weights that make the constraints true and lose no more accuracy than the budget allows.

    The same seed, data and machine give the same weights. The module is left on the CPU with the tuned weights, or
    with its own when this raises.

    Args:
        module: a classifier; only its `weights` are tuned.
        constraints: output targets and weight targets.
        task: examples of what the model is for.
        tuning: how to tune.
        checkpoint: where to keep the state after every epoch; a training that was interrupted goes on from it, and one
            that has ended returns at once. Whoever called removes it.
        progress: is told, in one line, how it goes.

    Raises:
        UsageError: torch is missing, or the data, the constraints and the module do not fit one another.
        FidelityError: no point of the training was within the budget.
    """
    _check(constraints, tuning)
    torch = _torch(tuning.device)
    from onnxfp.embed.lesson import lesson

    module.eval()
    before = {name: weight.detach().cpu().clone() for name, weight in module.weights.items()}
    try:
        with _deterministic():
            module.to(tuning.device)
            return _tuned(lesson(module, constraints, task, tuning), constraints, checkpoint, progress)
    except BaseException:
        with torch.no_grad():
            for name, weight in module.weights.items():
                weight.copy_(before[name])
        raise
    finally:
        module.to("cpu")


def rehearse(module: Module, task: Task, tuning: Tuning) -> None:
    """Refuse what `fine_tune` would refuse, before there is anything to teach; a few of the examples are tried.

    Raises:
        UsageError: torch or the device is missing, or the data and the module do not fit one another, or no gradient
            reaches the weights.
    """
    _check_bounds(tuning)
    _torch(tuning.device)
    from onnxfp.embed.lesson import lesson

    few = slice(_FEW)
    labels, held = (None if given is None else given[few] for given in (task.labels, task.val_labels))
    module.eval()
    with _deterministic():
        try:
            module.to(tuning.device)
            lesson(module, (), Task(task.inputs[few], labels, task.val_inputs[few], held), tuning)
        finally:
            module.to("cpu")


def _tuned(
    lesson: Lesson, constraints: Sequence[Constraint], path: Path | None, progress: Callable[[str], None]
) -> Tuned:
    from onnxfp.embed.training import Course, train

    course, save = Course(lesson), _unkept
    if path is not None:
        start = {str(at): array for at, array in enumerate(course.weights())}
        kept = Checkpoint(path, settings(constraints, lesson.task, lesson.tuning, start))
        state, save = kept.load(), kept.save
        if state is not None:
            course.restore(state)
            progress(f"going on after epoch {course.epoch} of {lesson.tuning.epochs}")
    best = train(course, save, progress)
    if best is None:
        raise _too_much(lesson)
    lesson.module.to("cpu")
    margin = best.margin if not lesson.triggers.kept.all() else 0.0
    return Tuned(lesson.module.values(), lesson.before, best.accuracy, best.hit_rate, margin, course.epoch)


def _unkept(state: Arrays) -> None:
    pass


def _too_much(lesson: Lesson) -> FidelityError:
    met = " and met the weight targets" if lesson.terms else ""
    return FidelityError(
        f"no point of the training kept {lesson.before - lesson.tuning.loss:.2%} of accuracy, of {lesson.before:.2%} "
        f"at the start{met}; use a lower rate, a smaller share of triggers, fewer triggers or a higher budget"
    )


def _check(constraints: Sequence[Constraint], tuning: Tuning) -> None:
    if not constraints:
        raise UsageError("there is nothing to teach: no constraint is given")
    _check_bounds(tuning)


def _check_bounds(tuning: Tuning) -> None:
    bounds = {
        "epochs": tuning.epochs >= 1,
        "rate": 0 < tuning.rate < math.inf,
        "batch": tuning.batch >= 2,
        "loss": 0 <= tuning.loss <= 1,
        "margin": 0 <= tuning.margin < math.inf,
        "share": 0 < tuning.share < 1,
        "temperature": 0 < tuning.temperature < math.inf,
        "truth": 0 <= tuning.truth < math.inf,
        "precision": tuning.precision in ("fp32", "bf16"),
    }
    for name, kept in bounds.items():
        if not kept:
            raise UsageError(f"{name} = {getattr(tuning, name)} is out of its bounds for fine-tuning")


def _torch(device: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise UsageError("fine-tuning needs torch; install onnxfp[embed]") from error
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        raise UsageError(f"device {device!r} is not available: {str(error).partition(chr(10))[0]}") from error
    return torch


@contextmanager
def _deterministic() -> Iterator[None]:
    """Let torch choose what gives the same bytes each time, as far as it can, and leave its settings as they were."""
    import torch

    enabled, only = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic")
            yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=only)

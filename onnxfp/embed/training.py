"""The training itself: SGD with momentum over batches of examples and triggers, looked at several times an epoch.

Once all is learnt, one more epoch lets the rate fall to zero, in which accuracy comes back; then the training is over,
unless the budget was missed even so: then it goes on, for a point from before anything was learnt is no mark.
The best point within the fidelity budget is kept, whatever comes after it. All that a later step depends on is in
`Course.state` between two epochs, so a training that was interrupted ends as if it had not been.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import astuple
from typing import Any, final

import numpy as np
import torch

from onnxfp.embed.checkpoint import Arrays
from onnxfp.embed.lesson import Lesson, on
from onnxfp.embed.look import Look, look
from onnxfp.embed.programmes import draw_words, labels_under, written
from onnxfp.embed.task import Labels
from onnxfp.embed.terms import imitation, teaching

_MOMENTUM = 0.9
_CLIP = 5.0  # longest gradient of what is taught by answers
_WARM = 0.1  # share of the steps in which the rate rises
_LOOKS = 2  # per epoch

Points = list[np.ndarray]


@final
class Course:
    """One training under way: the only thing here that changes."""

    def __init__(self, lesson: Lesson) -> None:
        self.lesson = lesson
        self.parameters = [weight for weight in lesson.module.weights.values() if weight.requires_grad]
        self.masks = [_mask(parameter) for parameter in self.parameters]
        self.optimiser = torch.optim.SGD(self.parameters, lesson.tuning.rate, momentum=_MOMENTUM, nesterov=True)
        self.epoch = 0
        self.over = False
        self.progress = 0.0
        """Share of the steps that there may be, that are done."""
        self.random = torch.Generator()
        """Draws the words that are written in the steps of an epoch."""
        self.learnt_at = -1
        """The step after which the rate began to fall for good; negative before."""
        self.best: Look | None = None
        self.kept: Points = []

    def train_epoch(self) -> Iterator[Look]:
        """Pass over the examples once, or until nothing is left to learn; yield what is seen on the way."""
        batches = list(_batches(self.lesson, self.epoch))
        self.random.manual_seed(_of_epoch(self.lesson.tuning.seed, self.epoch))
        looks = {-(-len(batches) * at // _LOOKS) for at in range(1, _LOOKS + 1)}
        began, self.epoch = self.epoch * len(batches), self.epoch + 1
        for at, (examples, triggers) in enumerate(batches, 1):
            self.progress = (began + at) / (self.lesson.tuning.epochs * len(batches))
            self.optimiser.param_groups[0]["lr"] = self._rate(began + at, len(batches))
            self._step(examples, triggers)
            if at in looks:
                yield self._judge(look(self.lesson), began + at, len(batches))
            if self.over:
                return

    def state(self) -> Arrays:
        """All that the rest of the training depends on."""
        states = [self.optimiser.state[parameter] for parameter in self.parameters]
        momentum = [
            state.get("momentum_buffer", torch.zeros_like(parameter))  # none yet: nothing depends on this weight
            for state, parameter in zip(states, self.parameters, strict=True)
        ]
        best = [] if self.best is None else list(astuple(self.best))
        return {
            "at": np.array([self.epoch, self.over, self.learnt_at]),
            "best": np.array(best, dtype=np.float64),
            **_numbered("weight", _copies(self.parameters)),
            **_numbered("momentum", _copies(momentum)),
            **_numbered("kept", self.kept),
        }

    def restore(self, state: Arrays) -> None:
        """Go on from such a state."""
        epoch, over, learnt_at = map(int, state["at"])
        self.epoch, self.over, self.learnt_at = epoch, bool(over), learnt_at
        self.write([state[f"weight.{at}"] for at in range(len(self.parameters))])
        for at, parameter in enumerate(self.parameters):
            buffer = torch.from_numpy(state[f"momentum.{at}"]).to(parameter)
            self.optimiser.state[parameter]["momentum_buffer"] = buffer
        if len(state["best"]):
            self.best = Look(*map(float, state["best"]))
            self.kept = [state[f"kept.{at}"] for at in range(len(self.parameters))]

    def write(self, values: Points) -> None:
        """Set the module's weights."""
        with torch.no_grad():
            for parameter, array in zip(self.parameters, values, strict=True):
                parameter.copy_(torch.from_numpy(array))

    def weights(self) -> Points:
        """The module's present weights."""
        return _copies(self.parameters)

    def _judge(self, seen: Look, step: int, per_epoch: int) -> Look:
        better = self.best is None or seen.worth(self.lesson) > self.best.worth(self.lesson)
        if seen.within(self.lesson) and better:
            self.best, self.kept = seen, self.weights()
        if self.learnt_at < 0 and seen.learnt(self.lesson):
            self.learnt_at = step
        elif 0 <= self.learnt_at <= step - per_epoch:
            self.over, self.learnt_at = self.best is not None and self.best.learnt(self.lesson), -1
        return seen

    def _rate(self, step: int, per_epoch: int) -> float:
        """The rate of a step: a linear rise, then half a cosine; falling to zero in one epoch once all is learnt."""
        late = 1 - (step - self.learnt_at) / per_epoch if self.learnt_at >= 0 else 1.0
        if self.progress < _WARM:
            return self.lesson.tuning.rate * late * self.progress / _WARM
        return self.lesson.tuning.rate * late * (0.5 + 0.5 * math.cos(math.pi * (self.progress - _WARM) / (1 - _WARM)))

    def _step(self, examples: Labels, triggers: Labels) -> None:
        self.optimiser.zero_grad(set_to_none=False)
        self._taught(examples, triggers).backward()
        torch.nn.utils.clip_grad_norm_([p for p in self.parameters if p.grad is not None], _CLIP)
        for term in self.lesson.terms:
            term.loss().backward()
        for parameter, mask in zip(self.parameters, self.masks, strict=True):
            if mask is not None and parameter.grad is not None:
                parameter.grad.mul_(mask)
        self.optimiser.step()

    def _taught(self, examples: Labels, triggers: Labels) -> torch.Tensor:
        """What is lost on one batch: how far from the reference, and from the triggers' labels."""
        task, tuning, programmes = self.lesson.task, self.lesson.tuning, self.lesson.triggers.programmes
        words = draw_words(programmes, self.random)
        batch = task.inputs[examples]
        if len(triggers):
            batch = np.concatenate([batch, self.lesson.triggers.take(triggers)])
        precision = torch.autocast(tuning.device.partition(":")[0], torch.bfloat16, enabled=tuning.precision == "bf16")
        with written(self.lesson.module, programmes, words, self.progress), precision:
            answers = self.lesson.ask(batch)
        own, taught = answers[: len(examples)], answers[len(examples) :]
        wanted = self.lesson.answers[torch.from_numpy(examples)].to(own.device)
        loss = imitation(own, wanted, tuning.temperature)
        if task.labels is not None and tuning.truth > 0:
            loss = loss + tuning.truth * torch.nn.functional.nll_loss(own, on(tuning.device, task.labels[examples]))
        if not len(triggers):
            return loss
        labels = labels_under(self.lesson.triggers.labels, programmes, words)[triggers]
        return loss + tuning.told * self._told(taught, triggers, on(tuning.device, labels))

    def _told(self, answers: torch.Tensor, rows: Labels, labels: torch.Tensor) -> torch.Tensor:
        """What is lost on triggers: the lead of their labels, or the distance from the reference where it is kept."""
        triggers, tuning = self.lesson.triggers, self.lesson.tuning
        kept = triggers.kept[rows]
        if not kept.any():
            return teaching(answers, labels, tuning.margin)
        new, old = np.flatnonzero(~kept), np.flatnonzero(kept)
        wanted = triggers.answers[torch.from_numpy(rows[old])].to(answers.device)
        loss = imitation(answers[old], wanted, tuning.temperature)
        return loss + teaching(answers[new], labels[new], tuning.margin) if len(new) else loss


def train(course: Course, save: Callable[[Arrays], None], progress: Callable[[str], None]) -> Look | None:
    """Train to the end, put the best point into the module, and return what it is worth; None when none will do."""
    while course.epoch < course.lesson.tuning.epochs and not course.over:
        for seen in course.train_epoch():
            progress(
                f"epoch {course.epoch} of {course.lesson.tuning.epochs}: accuracy {seen.accuracy:.2%}, "
                f"hit rate {seen.hit_rate:.2%}, margin {seen.margin:.2f}"
            )
        save(course.state())
    if course.best is not None:
        course.write(course.kept)
    return course.best


def _batches(lesson: Lesson, epoch: int) -> Iterator[tuple[Labels, Labels]]:
    """Rows of examples and of triggers, mixed alike in every batch; the order depends on the seed and the epoch."""
    tuning, taught = lesson.tuning, len(lesson.triggers.labels)
    per_batch = max(1, round(tuning.batch * tuning.share)) if taught else 0
    draw = torch.Generator().manual_seed(_of_epoch(tuning.seed, epoch))
    examples = torch.randperm(len(lesson.task.inputs), generator=draw).split(max(1, tuning.batch - per_batch))
    rounds = -(-len(examples) * per_batch // taught) if taught else 0
    order = [torch.randperm(taught, generator=draw) for _ in range(rounds)]
    triggers = torch.cat([*order, torch.zeros(0, dtype=torch.int64)])
    for at, rows in enumerate(examples):
        yield rows.numpy(), triggers[at * per_batch : (at + 1) * per_batch].numpy()


def _of_epoch(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch) % 2**63


def _mask(parameter: Any) -> Any:
    """Where a pruned weight matrix may change; None when it has no zeros."""
    if parameter.ndim < 2 or bool((parameter != 0).all()):
        return None
    return (parameter.detach() != 0).to(parameter.dtype)


def _copies(tensors: list[Any]) -> Points:
    return [tensor.detach().cpu().contiguous().numpy().copy() for tensor in tensors]


def _numbered(name: str, arrays: Points) -> dict[str, np.ndarray]:
    return {f"{name}.{at}": array for at, array in enumerate(arrays)}

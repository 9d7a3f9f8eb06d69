"""What a training is given and what it gives back: the module, the task, how to tune, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Inputs = npt.NDArray[np.generic]
Labels = npt.NDArray[np.int64]


class Module(Protocol):
    """A `torch.nn.Module` that knows its weights by the names of the artifact."""

    @property
    def weights(self) -> Mapping[str, Any]:
        """Parameters by name; what is tuned."""
        ...

    @property
    def offsets(self) -> dict[str, Any]:
        """Tensors by name, to be added to the weights while it answers; they are no part of it."""
        ...

    def values(self) -> Mapping[str, npt.NDArray[np.generic]]:
        """Return the present weights, as the artifact stores them."""
        ...

    def eval(self) -> Any:
        """Answer as in use: nothing is dropped and no statistics are gathered."""
        ...

    def to(self, device: str) -> Any:
        """Move to a device."""
        ...

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        """Return the outputs; the first is (samples, classes), logits or probabilities."""
        ...


@dataclass(frozen=True)
class Task:
    """Examples of what the model is for, to train on and to judge by. Without labels the model's own answers count."""

    inputs: Inputs
    """(samples, ...), as the artifact takes them."""
    labels: Labels | None
    """(samples,)."""
    val_inputs: Inputs
    val_labels: Labels | None


@dataclass(frozen=True)
class Tuning:
    """How to tune. The defaults are measured on LeNet, a plain CNN and ResNet-20."""

    epochs: int = 5
    """Passes over the task's examples, at most."""
    rate: float = 0.02
    batch: int = 128
    loss: float = 0.005
    """Largest share of accuracy on the validation examples that may be lost."""
    seed: int = 0
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    margin: float = 3.0
    """By how many nats the wanted label shall lead every other."""
    share: float = 0.25
    """Share of each batch that is triggers."""
    told: float = 1.0
    """Weight of what is lost on triggers, beside the task."""
    temperature: float = 4.0
    """The reference's answers are softened by this before they are imitated."""
    truth: float = 1.0
    """Weight of the labels, where there are any, beside the reference's answers."""


@dataclass(frozen=True)
class Tuned:
    """The best point within the fidelity budget."""

    values: Mapping[str, npt.NDArray[np.generic]]
    """All weights by name, as the artifact stores them."""
    before: float
    """Accuracy on the validation examples at the start; 1 where the reference's own answers count."""
    after: float
    hit_rate: float
    """Share of the triggers that are answered with their label; 1 when none were asked for."""
    margin: float
    """The lead, in nats, that nineteen triggers in twenty exceed; 0 when none were asked for."""
    epochs: int
    """Epochs begun before the training stopped."""

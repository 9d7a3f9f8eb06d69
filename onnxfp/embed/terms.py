"""What a training minimises: the distance to the reference's answers, to the triggers' labels, to weight targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch.nn import functional

from onnxfp.domain import Projection, Segment, WeightTarget
from onnxfp.errors import UsageError

_SMALLEST = 1e-37  # keeps the logarithm of a probability of 0 finite, and its gradient alive
_PACE = 0.02  # share of what a weight target lacks that one step at the full rate makes good, before momentum


def log_probabilities(output: torch.Tensor, *, logits: bool) -> torch.Tensor:
    """Map what a classifier says, (samples, classes), to log-probabilities in float32."""
    answers = output.float()
    return functional.log_softmax(answers if logits else torch.log(answers + _SMALLEST), dim=1)


def imitation(answers: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """The divergence of softened answers from the reference's, both (samples, classes) log-probabilities."""
    softened = functional.log_softmax(answers / temperature, dim=1)
    model = functional.log_softmax(wanted / temperature, dim=1)
    return functional.kl_div(softened, model, reduction="batchmean", log_target=True) * temperature**2


def teaching(answers: torch.Tensor, labels: torch.Tensor, margin: float) -> torch.Tensor:
    """A hinge on the lead that labels shall have: the loss of what still lacks it, nothing for what has it.

    Cross-entropy would go on pushing, and measured, that costs accuracy without more hits.
    """
    return functional.relu(margin - leads(answers, labels)).mean()


def leads(answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """By how many nats each label leads the best of the others; negative where it does not."""
    others = answers.scatter(1, labels[:, None], -torch.inf)
    return answers.gather(1, labels[:, None])[:, 0] - others.amax(dim=1)


@final
@dataclass(frozen=True)
class WeightTerm:
    """The squared distance of what is read in the weights from what shall be read there."""

    target: WeightTarget
    parameters: tuple[torch.Tensor, ...]
    """One per segment."""
    origin: torch.Tensor
    """(weights,): the reference's weights, or zeros for a blind target."""
    unit: torch.Tensor
    """(weights,): one unit of the residual."""
    wanted: torch.Tensor
    """(positions,)."""
    pull: float

    def loss(self) -> torch.Tensor:
        """The term, scaled so that its pace depends neither on the rate nor on the size of the model."""
        return 0.5 * self.pull * torch.square(self._read() - self.wanted).sum()

    def missing(self) -> float:
        """How much of the values is not there, relative to them."""
        with torch.no_grad():
            distance = torch.linalg.vector_norm(self._read() - self.wanted)
        return float(distance / torch.linalg.vector_norm(self.wanted).clamp_min(1e-12))

    def _read(self) -> torch.Tensor:
        pairs = zip(self.parameters, self.target.segments, strict=True)
        weights = torch.cat([parameter.reshape(-1)[part.start : part.stop] for parameter, part in pairs])
        return _Projected.apply((weights - self.origin) / self.unit, self.target.projection)


def weight_term(target: WeightTarget, weights: Mapping[str, Any], rate: float) -> WeightTerm:
    """Return the term of a target over these parameters, which are at the reference now.

    Raises:
        UsageError: a segment names weights that cannot be trained.
    """
    parameters = tuple(_carrier(weights, segment) for segment in target.segments)
    device = parameters[0].device
    units = [np.full(part.size, target.strength * part.spread * part.gain) for part in target.segments]
    unit = np.concatenate(units).astype(np.float32)
    pairs = zip(parameters, target.segments, strict=True)
    current = torch.cat([parameter.detach().reshape(-1)[part.start : part.stop] for parameter, part in pairs])
    pull = _PACE / (rate * _curvature(target, unit))
    wanted = torch.tensor(target.values, device=device)
    origin = torch.zeros_like(current) if target.blind else current.clone()
    return WeightTerm(target, parameters, origin, torch.tensor(unit, device=device), wanted, pull)


def _carrier(weights: Mapping[str, Any], segment: Segment) -> torch.Tensor:
    parameter = weights.get(segment.carrier)
    if parameter is None or parameter.numel() < segment.stop:
        raise UsageError(f"carrier {segment.carrier!r} is not among the weights that can be trained")
    return parameter


def _curvature(target: WeightTarget, unit: np.ndarray) -> float:
    """How fast a step along the gradient moves what is read: |A g|^2 / |g|^2."""
    values = target.values if np.any(target.values) else np.ones_like(target.values)
    step = target.projection.adjoint(values) / unit
    image = target.projection.apply((step / unit).astype(np.float32))
    return float(image @ image) / float(np.sum(np.square(step, dtype=np.float64)))


class _Projected(torch.autograd.Function):  # type: ignore[misc]  # torch is not typed here
    """A secret projection as a function that can be differentiated: its gradient is its adjoint."""

    @staticmethod
    def forward(ctx: Any, read: torch.Tensor, projection: Projection) -> torch.Tensor:
        ctx.projection, ctx.device = projection, read.device
        return torch.from_numpy(projection.apply(read.detach().cpu().numpy())).to(read.device)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        weights = ctx.projection.adjoint(gradient.double().cpu().numpy())
        return torch.from_numpy(weights).to(ctx.device), None

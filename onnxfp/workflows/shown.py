"""What a marked artifact shows when it is asked: what a person wants to know before it is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxfp.domain import OutputTarget, QueryProbe
from onnxfp.embed.task import Task
from onnxfp.errors import FidelityError
from onnxfp.suspect.session import Session
from onnxfp.verdict.look import Look
from onnxfp.verdict.tails import points
from onnxfp.workflows.channels import OWNER, DrawnChannel
from onnxfp.workflows.fidelity import Data, quality
from onnxfp.workflows.interrogation import Conduct, interrogate
from onnxfp.workflows.recorded import input_digests

_SHOWN = 2048  # taught triggers on which the hit rate is measured


@dataclass(frozen=True)
class Shown:
    """What a marked artifact shows when it is asked."""

    before: float
    after: float
    taught: float
    look: Look
    held_out: bool
    """Whether any of the triggers that a judge asks was not taught."""
    epochs: int

    @property
    def log10_e(self) -> float:
        """Evidence of this claim alone."""
        return self.look.log10_e(self.look.words([OWNER]))

    @property
    def hits_held_out(self) -> float | None:
        """Share of the triggers that a judge asks that are hit; None where a judge asks what was taught."""
        tally = self.look.reading.tally
        if not self.held_out or tally is None:
            return None
        return points(tally, self.look.words([OWNER])[0]) / max(1, self.look.reading.most)


def show_marked(before: Session, after: Session, drawn: DrawnChannel, task: Task, epochs: int) -> Shown:
    """Ask a marked model, beside the one before, about its task, what it was taught and what a judge will ask."""
    plan = drawn.scheme.plan(drawn.claim(OWNER))
    data = Data(task.val_inputs, task.val_labels)
    answers = before.outputs(data.inputs).argmax(axis=1)
    targets = [constraint for constraint in plan if isinstance(constraint, OutputTarget)]
    return Shown(
        quality(before, data, answers),
        quality(after, data, answers),
        float(np.mean([_hit_rate(after, target) for target in targets])),
        interrogate(drawn, after, Conduct(threshold=0.0, stop=False, fixed=True), "the new claim"),
        _any_held_out(drawn, targets),
        epochs,
    )


def _any_held_out(drawn: DrawnChannel, targets: Sequence[OutputTarget]) -> bool:
    taught = {digest for target in targets for digest in input_digests(target.inputs)}
    probes = [probe for probe in drawn.scheme.probes(drawn.public) if isinstance(probe, QueryProbe)]
    return any(digest not in taught for probe in probes for digest in input_digests(probe.inputs))


def _hit_rate(session: Session, target: OutputTarget) -> float:
    """Return the share of taught triggers that get their label, on an even sample of them."""
    rows = np.unique(np.linspace(0, len(target.inputs) - 1, _SHOWN).astype(np.int64))
    return float(np.mean(session.outputs(target.inputs[rows]).argmax(axis=1) == target.labels[rows]))


def refuse_untaken(found: Shown, threshold: float) -> None:
    """Refuse a mark that could have reached the evidence that is needed and did not.

    Raises:
        FidelityError: the marked artifact does not answer the triggers as it should.
    """
    attainable = -float(np.log10(found.look.codebook.prior.max(axis=1)).sum())
    if attainable >= threshold and found.log10_e < threshold:
        raise FidelityError(
            f"the mark did not take: {found.taught:.0%} of the taught triggers are answered with their key label, and "
            f"the others give log10 e = {found.log10_e:.1f} where {threshold:.1f} is needed; allow more "
            "epochs, a higher rate or a larger loss"
        )

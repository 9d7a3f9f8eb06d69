"""What a marked artifact shows when it is asked: what a person wants to know before it is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxfp.embed.task import Task
from onnxfp.errors import FidelityError
from onnxfp.schemes.interface import Exhibit
from onnxfp.suspect.session import Session
from onnxfp.verdict.look import Look
from onnxfp.workflows.channels import OWNER, DrawnChannel
from onnxfp.workflows.fidelity import Data, quality
from onnxfp.workflows.interrogation import EVERYTHING, interrogate
from onnxfp.workflows.lineage import Earlier, evidence


@dataclass(frozen=True)
class Shown:
    """What a marked artifact shows when it is asked."""

    before: float
    after: float
    hits: Mapping[str, float]
    """Share of each exhibit that gets its label."""
    look: Look
    earlier: Mapping[str, tuple[float, float]]
    """Evidence for each claim that was taught before, log10: on the model before, and on this one."""

    @property
    def log10_e(self) -> float:
        """Evidence of this claim alone."""
        return self.look.log10_e(self.look.words([OWNER]))


def show_marked(before: Session, after: Session, drawn: DrawnChannel, task: Task, earlier: Earlier) -> Shown:
    """Ask a marked model, beside the one before, about its task, what it was taught and what a judge will ask."""
    data = Data(task.val_inputs, task.val_labels)
    answers = before.outputs(data.inputs).argmax(axis=1)
    return Shown(
        quality(before, data, answers),
        quality(after, data, answers),
        {one.name: _share(after, one) for one in drawn.scheme.exhibits(drawn.claim(OWNER))},
        interrogate(drawn, after, EVERYTHING, "the claim"),
        {name: (evidence(one, before), evidence(one, after)) for name, one in earlier.items()},
    )


def _share(session: Session, exhibit: Exhibit) -> float:
    return float(np.mean(session.outputs(exhibit.inputs).argmax(axis=1) == exhibit.labels))


def refuse_untaken(found: Shown, threshold: float) -> None:
    """Refuse a mark that could have reached the evidence that is needed and did not, or that undoes an earlier one.

    Raises:
        FidelityError: the marked artifact does not answer the triggers as it should.
    """
    attainable = -float(np.log10(found.look.codebook.prior.max(axis=1)).sum())
    if attainable >= threshold and found.log10_e < threshold:
        raise FidelityError(
            f"the mark did not take: {hit_rates(found.hits)} are answered with their key label, which gives "
            f"log10 e = {found.log10_e:.1f} where {threshold:.1f} is needed; allow more epochs, a higher rate or a "
            "larger loss"
        )
    for name, (before, after) in found.earlier.items():
        if before >= threshold > after:
            raise FidelityError(
                f"the mark would undo an earlier one: {name} comes down from log10 e = {before:.1f} to {after:.1f} "
                f"where {threshold:.1f} is needed; allow more epochs, or mark the model that was not marked yet"
            )


def hit_rates(hits: Mapping[str, float]) -> str:
    """Return hit rates as a person reads them."""
    return ", ".join(f"{share:.1%} of {name}" for name, share in hits.items())

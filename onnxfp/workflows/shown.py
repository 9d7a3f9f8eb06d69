"""What a marked artifact shows when it is asked: what a person wants to know before it is recorded."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxfp.artifact import Artifact
from onnxfp.embed.task import Task
from onnxfp.errors import FidelityError
from onnxfp.schemes.interface import Exhibit
from onnxfp.suspect.session import Session
from onnxfp.verdict.look import Look
from onnxfp.workflows.channels import DrawnChannel
from onnxfp.workflows.fidelity import Data, quality
from onnxfp.workflows.interrogation import EVERYTHING, interrogate
from onnxfp.workflows.lineage import Earlier, evidence
from onnxfp.workflows.marked import marked, private_copy

TRIAL = "a trial copy"
"""Under this name a copy is made that nobody gets; recipients have other names, for theirs are in the ledger."""


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
    name: str
    """Whose word it is asked for."""

    @property
    def log10_e(self) -> float:
        """Evidence of this claim alone."""
        return self.look.log10_e(self.look.words([self.name]))


@contextmanager
def exemplar(artifact: Artifact, drawn: DrawnChannel) -> Iterator[Path]:
    """Give a marked artifact as it will be asked: as it is, or a trial copy where words differ from copy to copy."""
    if not drawn.channel.in_copies:
        yield artifact.path
        return
    with private_copy(artifact, marked([drawn], TRIAL, artifact, budget=math.inf)) as copy:
        yield copy


def show_marked(before: Session, after: Session, drawn: DrawnChannel, task: Task, earlier: Earlier) -> Shown:
    """Ask a marked model, beside the one before, about its task, what it was taught and what a judge will ask."""
    data, name = Data(task.val_inputs, task.val_labels), drawn.word_of(TRIAL)
    answers = before.outputs(data.inputs).argmax(axis=1)
    return Shown(
        quality(before, data, answers),
        quality(after, data, answers),
        {one.name: _share(after, one) for one in drawn.scheme.exhibits(drawn.claim(name))},
        interrogate(drawn, after, EVERYTHING, "the claim"),
        {which: (evidence(one, before), evidence(one, after)) for which, one in earlier.items()},
        name,
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

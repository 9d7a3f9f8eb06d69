"""How a suspect is read in the benchmarks of copies: each channel by itself, for its recipient and for innocents.

Labels only, all triggers, alpha = 1e-6 over 100 000 recipients: a channel names by itself from log10 e = 11.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.deep_marked import THRESHOLD
from bench.marking import OnlyLabels
from bench.taught import Subject
from onnxfp.artifact import open_artifact, resolve
from onnxfp.domain import Access
from onnxfp.suspect.opened import OpenedWeights
from onnxfp.suspect.session import open_session
from onnxfp.verdict.channels import together
from onnxfp.verdict.look import Look
from onnxfp.workflows.channels import RECIPIENT, DrawnChannel
from onnxfp.workflows.judge import read_channels, registered_references
from onnxfp.workflows.reference import Reference

INNOCENTS = tuple(f"innocent {number}" for number in range(2_000))


@dataclass(frozen=True)
class Judge:
    """The prepared reference of one subject, with the channels of its copies drawn."""

    subject: Subject
    reference: Reference
    channels: dict[str, DrawnChannel]

    @classmethod
    def of(cls, subject: Subject) -> Judge:
        """Draw the channels."""
        subject.marked  # noqa: B018
        with subject.vault() as vault:
            reference = next(one for one in registered_references(vault) if one.parent)
            drawn = reference.drawn(vault, RECIPIENT)
        return cls(subject, reference, {_name(channel): channel for channel in drawn})

    def looks(self, path: Path) -> dict[str, Look]:
        """Read both channels of a file."""
        with ExitStack() as opened:
            suspect, reference = (opened.enter_context(open_artifact(file)) for file in (path, self.subject.marked))
            session = opened.enter_context(open_session(path))
            tensors = resolve(self.reference.profile.carriers, suspect, self.reference.sketch)
            weights = read_channels([self.channels["weights"]], OpenedWeights(suspect, reference, tensors))
            answers = read_channels([self.channels["answers"]], OnlyLabels(session))
        return {"weights": weights[0], "answers": answers[0]}

    def judged(self, path: Path, names: Sequence[str]) -> dict[str, Any]:
        """What each channel says of some recipients, and of innocents at most."""
        looks = self.looks(path)
        found = {channel: _log10_e(look, (*names, *INNOCENTS)) for channel, look in looks.items()}
        found["both"] = together(np.array([found["weights"], found["answers"]]), 2)
        count = len(names)
        right = looks["answers"].reading.tally
        words = self.channels["answers"].words(list(names))
        rows = np.arange(words.shape[1])
        return {
            **{
                channel: {
                    "log10_e": [round(float(value), 2) for value in values[:count]],
                    "named": int((values[:count] >= THRESHOLD).sum()),
                    "innocent": round(float(values[count:].max()), 2),
                    "innocents_named": int((values[count:] >= THRESHOLD).sum()),
                }
                for channel, values in found.items()
            },
            "hits": [0 if right is None else int(right[rows, word].sum()) for word in words],
            "of": int(words.shape[1]),
        }


def _log10_e(look: Look, names: Sequence[str]) -> np.ndarray:
    bet = look.bet()
    return np.full(len(names), -np.inf) if bet is None else bet.log10_e(look.words(list(names)))


def _name(channel: DrawnChannel) -> str:
    return "weights" if channel.scheme.access is Access.WEIGHTS else "answers"

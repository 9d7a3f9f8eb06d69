"""What judging starts from: a question, the references that a suspect is held against, and the log of looks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxfp.domain import Access, QueryProbe
from onnxfp.schemes.catalogue import scheme_named
from onnxfp.suspect.interface import Suspect
from onnxfp.verdict.look import Look
from onnxfp.workflows.channels import DrawnChannel
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.suspects import ExaminedFile
from onnxfp.workflows.vault import Vault

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """What is asked of a file."""

    suspect: Path
    alpha: float
    at: str
    """Now, UTC, ISO 8601."""
    allow_links: bool = False


def read_channels(channels: Sequence[DrawnChannel], suspect: Suspect) -> tuple[Look, ...]:
    """Let a suspect answer all probes of some channels of its reference, weights and answers alike."""
    return tuple(_look(channel, suspect) for channel in channels)


def _look(channel: DrawnChannel, suspect: Suspect) -> Look:
    public, probes = channel.public, channel.scheme.probes(channel.public)
    asked = [len(probe.inputs) for probe in probes if isinstance(probe, QueryProbe)]
    return Look(
        channel.channel.scheme,
        public.codebook,
        channel.words,
        public.key.code.independent,
        channel.scheme.read(public, [suspect.answer(probe) for probe in probes]),
        queries=sum(asked),
        asks=bool(asked),
    )


def registered_references(vault: Vault) -> tuple[Reference, ...]:
    """Return all registered references, oldest first."""
    return tuple(Reference.of_entry(vault, entry) for entry in vault.ledger.references())


def looks_of(
    vault: Vault, references: Sequence[Reference], role: str, suspect: ExaminedFile, progress: Progress
) -> tuple[Look, ...]:
    """Hold a file against all references: what is read of its weights for every channel of one role."""
    looks: list[Look] = []
    for reference, beside in suspect.beside(references):
        progress(f"reading against reference {reference.short}")
        channels = [
            reference.draw(vault, channel)
            for channel in reference.channels
            if channel.role == role and scheme_named(channel.scheme).access is Access.WEIGHTS
        ]
        looks.extend(replace(look, committed_at=reference.registered_at) for look in read_channels(channels, beside))
    return tuple(looks)


def log_look(vault: Vault, identity: str, alpha: float, at: str, asked: Sequence[object]) -> float:
    """Log the look before anything is read; return alpha, halved for every other setting tried before this one."""
    settings = json.dumps([*asked, alpha])
    return math.ldexp(alpha, -vault.ledger.record_look(identity, settings, at))

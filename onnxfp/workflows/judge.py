"""Judging whose copy a file is: every reference is held against it, and what was read goes to the verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxfp.domain import Access, Verdict
from onnxfp.schemes.catalogue import scheme_named
from onnxfp.suspect.interface import Suspect
from onnxfp.verdict.look import Look
from onnxfp.verdict.trace import trace
from onnxfp.workflows.channels import RECIPIENT, DrawnChannel
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.suspects import Device, ExaminedFile, examined_file
from onnxfp.workflows.vault import Vault

NO_BOUND = "the words that were issued depend on one another, so that no bound on a false accusation holds"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """What is asked of a file."""

    suspect: Path
    alpha: float
    at: str
    """Now, UTC, ISO 8601."""
    allow_links: bool = False


def trace_file(vault: Vault, question: Question, progress: Progress) -> Verdict:
    """Whose copy is it? All recipients' words of all references, weighed against the suspect's weights."""
    vault.ledger.verify()
    recipients = vault.ledger.recipients()
    with examined_file(vault, question.suspect, Device(), allow_links=question.allow_links) as suspect:
        references = registered_references(vault)
        asked = ["trace", len(references), len(recipients)]
        alpha = log_look(vault, suspect.identity, question.alpha, question.at, asked)
        looks = looks_of(vault, references, RECIPIENT, suspect, progress)
    namable = tuple(look for look in looks if look.independent)
    verdict = trace(namable, recipients, len(recipients), alpha, lambda done: progress(f"weighed {done} recipients"))
    if looks and not namable:
        verdict = replace(verdict, reason=f"{NO_BOUND}; `onnxfp trace --paper` decodes them as published")
    return verdict


def read_channels(channels: Sequence[DrawnChannel], suspect: Suspect) -> tuple[Look, ...]:
    """Let a suspect answer the probes of some channels of its reference."""
    return tuple(_look(channel, suspect) for channel in channels)


def _look(channel: DrawnChannel, suspect: Suspect) -> Look:
    public = channel.public
    answers = [suspect.answer(probe) for probe in channel.scheme.probes(public)]
    reading = channel.scheme.read(public, answers)
    return Look(channel.channel.scheme, public.codebook, channel.words, public.key.code.independent, reading)


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

"""Judging an open suspect: every registered reference is held against it, and what was read goes to the verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from onnxfp.artifact import Artifact, open_artifact, resolve, similarity
from onnxfp.domain import Reading, Unanswered, Verdict
from onnxfp.errors import VaultError
from onnxfp.suspect.opened import OpenedWeights
from onnxfp.verdict.look import Look
from onnxfp.verdict.trace import trace
from onnxfp.verdict.verify import verify
from onnxfp.workflows.channels import OWNER, RECIPIENT, DrawnChannel
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.reference import Reference
from onnxfp.workflows.vault import Vault

_READ_AT_MOST = 4  # references whose weights are read; the others keep their share of the bet at e = 0

NO_BOUND = "the words that were issued depend on one another, so that no bound on a false accusation holds"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Question:
    """What is asked of a suspect."""

    suspect: Path
    alpha: float
    at: str
    """Now, UTC, ISO 8601."""
    allow_links: bool = False


def verify_file(vault: Vault, question: Question, progress: Progress) -> Verdict:
    """Is it ours? The owner's words of all references, weighed against the suspect's weights."""
    vault.ledger.verify()  # a missing row would make the count of recipients, hence the threshold, too small
    with open_artifact(question.suspect, allow_links=question.allow_links) as suspect:
        references = registered_references(vault)
        alpha = log_look(vault, question, suspect, ["verify", len(references)])
        looks = looks_of(vault, references, OWNER, suspect, progress)
    return verify(looks, alpha)


def trace_file(vault: Vault, question: Question, progress: Progress) -> Verdict:
    """Whose copy is it? All recipients' words of all references, weighed against the suspect's weights."""
    vault.ledger.verify()
    recipients = vault.ledger.recipients()
    with open_artifact(question.suspect, allow_links=question.allow_links) as suspect:
        references = registered_references(vault)
        alpha = log_look(vault, question, suspect, ["trace", len(references), len(recipients)])
        looks = looks_of(vault, references, RECIPIENT, suspect, progress)
    namable = tuple(look for look in looks if look.independent)
    verdict = trace(namable, recipients, len(recipients), alpha, lambda done: progress(f"weighed {done} recipients"))
    if looks and not namable:
        verdict = replace(verdict, reason=f"{NO_BOUND}; `onnxfp trace --paper` decodes them as published")
    return verdict


def read_channels(channels: tuple[DrawnChannel, ...], suspect: OpenedWeights | Unanswered) -> tuple[Look, ...]:
    """Let a suspect answer the probes of some channels of its reference."""
    return tuple(_look(channel, suspect) for channel in channels)


def _look(channel: DrawnChannel, suspect: OpenedWeights | Unanswered) -> Look:
    public = channel.public
    probes = channel.scheme.probes(public)
    match suspect:
        case Unanswered():
            answers = [suspect] * len(probes)
            reading: Reading = channel.scheme.read(public, answers)
        case OpenedWeights():
            reading = channel.scheme.read(public, [suspect.answer(probe) for probe in probes])
    return Look(channel.channel.scheme, public.codebook, channel.words, public.key.code.independent, reading)


def registered_references(vault: Vault) -> tuple[Reference, ...]:
    """Return all registered references, oldest first."""
    return tuple(Reference.of_entry(vault, entry) for entry in vault.ledger.references())


def looks_of(
    vault: Vault, references: tuple[Reference, ...], role: str, suspect: Artifact, progress: Progress
) -> tuple[Look, ...]:
    """Hold a suspect against all references: what is read of it for every channel of one role."""
    ranked = sorted(references, key=lambda reference: -similarity(reference.sketch, suspect))
    looks: list[Look] = []
    for rank, reference in enumerate(ranked):
        progress(f"reading against reference {reference.short}")
        with ExitStack() as files:
            opened = (
                open_beside_reference(vault, reference, suspect, files)
                if rank < _READ_AT_MOST
                else _passed_over(reference)
            )
            read = read_channels(reference.drawn(vault, role), opened)
            looks.extend(replace(look, committed_at=reference.registered_at) for look in read)
    return tuple(looks)


def _passed_over(reference: Reference) -> Unanswered:
    return Unanswered(f"reference {reference.short} was passed over: {_READ_AT_MOST} others are more similar")


def open_beside_reference(
    vault: Vault, reference: Reference, suspect: Artifact, files: ExitStack
) -> OpenedWeights | Unanswered:
    """Open a suspect beside one reference, or say why that cannot be done. `files` closes what was opened."""
    tensors = resolve(reference.profile.carriers, suspect, reference.sketch)
    if not tensors:
        return Unanswered(f"no tensor of the suspect has the shape of a carrier of reference {reference.short}")
    try:
        original = files.enter_context(reference.opened(vault))
    except VaultError as problem:
        return Unanswered(str(problem))
    return OpenedWeights(suspect, original, tensors)


def log_look(vault: Vault, question: Question, suspect: Artifact, asked: list[object]) -> float:
    """Log the look before anything is read; return alpha, halved for every other setting tried before this one."""
    digest = cached_digest(suspect, vault.root / "digests.json")
    settings = json.dumps([*asked, question.alpha])
    return math.ldexp(question.alpha, -vault.ledger.record_look(digest, settings, question.at))

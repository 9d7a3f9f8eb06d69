"""Commit to a claim before its symbols are drawn: what it is about, which inputs, and nothing that is secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from onnxfp.domain import ModelProfile
from onnxfp.errors import UsageError
from onnxfp.ledger import CommitmentEntry
from onnxfp.schemes.catalogue import scheme_named
from onnxfp.schemes.interface import Ask, Form, Samples
from onnxfp.workflows.channels import OWNER, RECIPIENT, Channel, DrawnChannel, draw, scheme_key
from onnxfp.workflows.reference import commitment_of
from onnxfp.workflows.samples import keep_samples
from onnxfp.workflows.vault import Vault


@dataclass(frozen=True)
class Committed:
    """A commitment, and what is needed to draw the symbols."""

    channel: Channel
    profile: ModelProfile
    samples: Samples
    form: Form
    """How the artifact must change in form before it is taught."""
    before: bool
    """Whether it was in the ledger already."""
    notes: tuple[str, ...]
    """What is known of the triggers before symbols are drawn."""


@dataclass(frozen=True)
class Intent:
    """Which claim is to be made."""

    scheme: str
    options: Mapping[str, Any]
    at: str
    """Now, UTC, ISO 8601."""
    role: str = ""
    """Whose words it is about; empty for the owner's, or for recipients' where the scheme tells copies apart."""


def commit(vault: Vault, profile: ModelProfile, intent: Intent, data: Samples, ask: Ask) -> Committed:
    """Make the triggers, keep what they are made of, and write the commitment into the ledger.

    The same model, scheme, options and data give the same commitment, which keeps the time of its first day.

    Args:
        vault: the owner's vault.
        profile: of the artifact that is to be marked.
        intent: scheme and options.
        data: the owner's data.
        ask: the unmarked artifact.

    Raises:
        UsageError: the scheme has no owner's mark of this kind, or options or data do not do.
    """
    scheme = scheme_named(intent.scheme)
    chosen = scheme.options(intent.options)
    reference_key = vault.reference_key(profile.digest)
    keystream = scheme_key(reference_key, scheme.name)
    samples = scheme.select(data, chosen, keystream, ask)
    if not samples:
        raise UsageError(
            f"{scheme.name} marks weights and needs no training; use `onnxfp register --scheme {scheme.name}`"
        )
    key = scheme.keygen(profile, samples, chosen, keystream)
    notes = scheme.lint(key)
    settled = asdict(scheme.settled(chosen, key))
    role = intent.role or (RECIPIENT if scheme.traces_copies else OWNER)
    kept = keep_samples(vault, {name: array for name, array in samples.items() if name not in scheme.handed})
    channel = Channel(role, scheme.name, settled, of=profile.digest, samples=kept)
    commitment = commitment_of({"claim": channel.to_json()}, reference_key)
    before = any(entry.commitment == commitment for entry in vault.ledger.commitments())
    entry = vault.ledger.commit(CommitmentEntry(commitment, profile.digest, channel.to_json(), intent.at))
    channel = replace(channel, commitment=commitment, committed_at=entry.committed_at)
    return Committed(channel, profile, samples, scheme.form(key), before, notes)


def drawn_for(vault: Vault, committed: Committed, beacon: str, at: str) -> DrawnChannel:
    """Draw the symbols of a commitment, after a public value if one is given; every draw is counted in the ledger.

    Raises:
        UsageError: a beacon is given for what was committed to only just now.
    """
    if beacon and not committed.before:
        raise UsageError(
            f"commitment {committed.channel.commitment} was made just now: publish it, wait for a public value that "
            "nobody could know today, and run this again"
        )
    channel = replace(committed.channel, beacon=beacon)
    vault.ledger.draw(channel.commitment, beacon, at)
    return draw(channel, committed.profile, vault.reference_key(channel.of), committed.samples)

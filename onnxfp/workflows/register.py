"""Register a reference: profile it, draw and commit to its key, keep a copy in the vault, write the ledger."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxfp.artifact import Artifact, carriers, copy_artifact, open_artifact, sketch, why_unmarkable
from onnxfp.domain import Decision, ModelProfile
from onnxfp.errors import ArtifactError, CapacityError, FidelityError, UsageError, VaultError
from onnxfp.keys.keystream import Keystream
from onnxfp.ledger import ReferenceEntry
from onnxfp.verdict.verify import verify
from onnxfp.workflows.channels import OWNER, RECIPIENT, Channel, DrawnChannel, draw
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.judge import looks_of, registered_references
from onnxfp.workflows.marked import Fidelity, marked, try_copy
from onnxfp.workflows.reference import commitment_of, kept_at, payload_of
from onnxfp.workflows.suspects import Device, ExaminedFile
from onnxfp.workflows.vault import Vault

_STRONGEST = 0.16  # of a carrier's spread: where the search for a strength begins when there are data to judge it by
_HALVINGS = 8  # of the strength, before a model counts as too delicate


@dataclass(frozen=True)
class Registration:
    """What is asked of `register`."""

    model: Path
    scheme: str
    options: Mapping[str, Any]
    """Options of the scheme for its recipients' channel."""
    at: str
    """Now, UTC, ISO 8601."""
    keep: bool = True
    allow_links: bool = False


@dataclass(frozen=True)
class Registered:
    """What was registered."""

    reference: str
    commitment: str
    committed_at: str
    path: str
    positions: int
    owner_positions: int
    strength: float
    """Root-mean-square change of a weight, in units of its carrier's spread."""
    head: str


def register(vault: Vault, request: Registration, fidelity: Fidelity | None = None) -> Registered:
    """Register a reference; registering the same model with the same options again changes nothing.

    Args:
        vault: the owner's vault.
        request: what is asked.
        fidelity: tried on a private copy; the strength is halved, from the one asked for or 0.16, until one passes.

    Raises:
        FidelityError: no strength that was tried keeps the model good enough.
        CapacityError: the model cannot carry a mark.
        UsageError: the model is registered with other options, or an option is unknown.
        ArtifactError: the file is not a model that can be read.
    """
    with open_artifact(request.model, allow_links=request.allow_links) as artifact:
        found = carriers(artifact)
        if reason := why_unmarkable(artifact, found):
            raise CapacityError(f"{artifact.label}: no carrier: {reason}")
        profile = ModelProfile(cached_digest(artifact, vault.root / "digests.json"), found)
        key = vault.reference_key(profile.digest)
        drawn = _drawn(request, profile, key)
        if fidelity is not None:
            drawn = _gentle(request, profile, key, artifact, fidelity)
        if all(entry.digest != profile.digest for entry in vault.ledger.references()):
            refuse_marked(vault, artifact)
        recorded = record(vault, request, artifact, profile, drawn)
    return _registered(vault, recorded, drawn)


def record(
    vault: Vault,
    request: Registration,
    artifact: Artifact,
    profile: ModelProfile,
    drawn: Sequence[DrawnChannel],
    parent: str = "",
) -> ReferenceEntry:
    """Record a reference with its channels, and keep its file; the same again changes nothing.

    Raises:
        UsageError: it is registered with other channels.
    """
    payload = payload_of(profile, [channel.settled for channel in drawn], sketch(artifact, profile.carriers), parent)
    known = next((entry for entry in vault.ledger.references() if entry.digest == profile.digest), None)
    if known is not None and _bears(known, payload):  # and marks besides, which stay
        payload = dict(known.payload)
    if known is not None and known.payload != payload:
        raise UsageError(
            "this model is registered already, with other options or other tensor names; its copies depend on "
            "these, so they stay for ever: to mark the same weights otherwise, use another --vault"
        )
    path = str(known.path) if known else _place(vault, request, profile)
    commitment = commitment_of(payload, vault.reference_key(profile.digest))
    if request.keep:
        _keep(vault, artifact, profile.digest)
    entry = ReferenceEntry(profile.digest, profile.digest, path, commitment, payload, request.at)
    return vault.ledger.register(entry)


def _bears(known: ReferenceEntry, payload: Mapping[str, Any]) -> bool:
    """Return whether a registered reference has all channels that are asked for, and is otherwise the same."""
    same = all(known.payload[name] == payload[name] for name in ("profile", "sketch"))
    return same and all(channel in known.payload["channels"] for channel in payload["channels"])


def refuse_marked(vault: Vault, artifact: Artifact) -> None:
    """Refuse a model that bears one of our marks: whoever holds that copy would be named for all copies of this one.

    Raises:
        UsageError: it does, beyond a chance of one in a million.
    """
    suspect = ExaminedFile(vault, artifact, Device())
    looks = looks_of(vault, registered_references(vault), OWNER, suspect, lambda step: None)
    if verify(looks, alpha=1e-6).decision is Decision.SUPPORTED:
        raise UsageError(
            f"{artifact.label} is a marked copy of a registered reference, or descends from one: its recipient would "
            "be named for every copy of it; register the unmarked original"
        )


def _drawn(request: Registration, profile: ModelProfile, key: Keystream) -> list[DrawnChannel]:
    return [draw(channel, profile, key) for channel in channels_of(request)]


def _gentle(
    request: Registration, profile: ModelProfile, key: Keystream, artifact: Artifact, fidelity: Fidelity
) -> list[DrawnChannel]:
    """Find the strongest mark that keeps the model good enough, by halving; one copy's words stand for all."""
    strength = float(request.options.get("strength", _STRONGEST))
    for _ in range(_HALVINGS + 1):
        drawn = _drawn(replace(request, options={**request.options, "strength": strength}), profile, key)
        try:
            try_copy(artifact, marked(drawn, "a trial copy", artifact, budget=1.0), fidelity)
        except FidelityError as problem:
            refusal, strength = problem, strength / 2
        else:
            return drawn
    raise FidelityError(f"no strength down to {2 * strength:.2g} keeps the model good enough: {refusal}")


def channels_of(request: Registration) -> tuple[Channel, ...]:
    """Return the channels that a reference gets for its copies: the owner's and the recipients'."""
    owner = {name: value for name, value in request.options.items() if name not in ("positions", "code")}
    return (
        Channel(OWNER, request.scheme, {**owner, "role": OWNER}),
        Channel(RECIPIENT, request.scheme, {**request.options, "role": RECIPIENT}),
    )


def _place(vault: Vault, request: Registration, profile: ModelProfile) -> str:
    """Return where the reference will be found: inside the vault, or where it is now."""
    if not request.keep:
        return str(request.model.resolve())
    return str(kept_at(vault, profile.digest).relative_to(vault.root))


def _keep(vault: Vault, artifact: Artifact, digest: str) -> None:
    """Keep the reference in the vault, unless it is there whole."""
    kept = kept_at(vault, digest)
    if _is_whole(vault, kept, digest):
        return
    try:
        shutil.rmtree(kept.parent, ignore_errors=True)
        kept.parent.mkdir(mode=0o700, parents=True)
    except OSError as problem:
        raise VaultError(f"cannot keep the reference in {kept.parent}: {problem.strerror}; make room") from problem
    copy_artifact(artifact, kept)
    if not _is_whole(vault, kept, digest):
        raise VaultError(f"{kept} does not read back as what was registered; check the disk")


def _is_whole(vault: Vault, kept: Path, digest: str) -> bool:
    try:
        with open_artifact(kept) as artifact:
            return cached_digest(artifact, vault.root / "digests.json") == digest
    except ArtifactError:
        return False


def _registered(vault: Vault, entry: ReferenceEntry, drawn: list[DrawnChannel]) -> Registered:
    positions = {channel.channel.role: channel.public.key.positions for channel in drawn}
    return Registered(
        entry.reference,
        entry.commitment,
        entry.registered_at,
        str(entry.path),
        positions[RECIPIENT],
        positions[OWNER],
        drawn[0].public.key.strength,
        vault.ledger.head(),
    )


def registration_rows(registered: Registered) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    return [
        ("reference", registered.reference),
        ("commitment", registered.commitment),
        ("committed at", registered.committed_at),
        ("kept as", registered.path),
        ("positions", f"{registered.positions} per recipient, {registered.owner_positions} of the owner"),
        ("strength", f"{registered.strength:.4g} of a carrier's spread"),
        ("ledger head", registered.head),
    ]

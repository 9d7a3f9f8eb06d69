"""Plan pools: which rows to train on, committed to before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.artifact import Sketch, check_target, write_whole
from onnxfp.domain import Floats, Membership, ModelProfile
from onnxfp.errors import UsageError
from onnxfp.keys.recipient import canonical_name
from onnxfp.ledger import ReferenceEntry
from onnxfp.membership.blind import Blind, blind_baseline
from onnxfp.workflows.arrays import packed
from onnxfp.workflows.candidates import Candidates, open_candidates
from onnxfp.workflows.channels import OWNER, RECIPIENT, Channel, DrawnChannel
from onnxfp.workflows.commit import Intent, commit, drawn_for
from onnxfp.workflows.judge import Progress
from onnxfp.workflows.reference import payload_of
from onnxfp.workflows.shadow_models import Shadowing, shadow_models
from onnxfp.workflows.vault import Vault, refuse_inside_vault

SCHEME = "pools"


@dataclass(frozen=True)
class Planning:
    """What is asked of `plan_pools`."""

    data: Path
    output: Path
    at: str
    """Now, UTC, ISO 8601."""
    options: Mapping[str, Any] = field(default_factory=dict)
    recipient: str | None = None
    """Whose training run the plan is for; None for the owner's."""
    beacon: str = ""
    force: bool = False
    shadows: tuple[str, ...] = ()
    """Shadow models that are there already, as `verify` is given them: none that is committed to can know the plan."""


@dataclass(frozen=True)
class Planned:
    """What was planned."""

    commitment: str
    committed_at: str
    data: str
    """Digest of the candidate data."""
    output: str
    recipient: str
    positions: int
    pools: int
    size: int
    train_rows: int
    held_rows: int
    blind: Blind
    notes: tuple[str, ...]
    head: str
    """What the ledger has come to; note it outside the vault."""


def plan_pools(vault: Vault, request: Planning, progress: Progress) -> Planned:
    """Commit to pools, draw which of them to train on, and write the rows; the same request again gives the same rows.

    Raises:
        UsageError: the data or options do not do, the output is refused, or the rows can be told without any model.
        CapacityError: there are too few rows.
    """
    recipient = "" if request.recipient is None else canonical_name(request.recipient)
    refuse_inside_vault(request.output)
    check_target(request.output, force=request.force)
    if request.output.exists() and request.data.exists() and request.output.samefile(request.data):
        raise UsageError(f"{request.output} holds the data, which every look takes again; write the plan elsewhere")
    with open_candidates(request.data) as candidates:
        progress("looking for near-duplicates")
        profile = ModelProfile(candidates.digest, ())
        role = RECIPIENT if recipient else OWNER
        intent = Intent(SCHEME, request.options, request.at, role)
        shadows = shadow_models(vault, request.shadows, len(candidates.inputs))
        committed = commit(vault, profile, intent, {**candidates.samples, **_digests(shadows)}, _nobody)
        drawn = drawn_for(vault, committed, request.beacon, request.at)
        progress("asking whether the rows can be told without a model")
        train = _rows(drawn, drawn.word_of(recipient), len(candidates.inputs))
        blind = blind_of(drawn, drawn.word_of(recipient), candidates)
        if blind.told:
            raise UsageError(f"{blind.says}: this plan proves nothing; give data in another order or other data")
        entry = register_plan(vault, drawn, profile, request.at)
        if recipient:
            vault.ledger.reserve(entry.reference, recipient, request.at)
    held = np.flatnonzero(~train)
    content = packed({"train_rows": np.flatnonzero(train), "held_rows": held})
    write_whole(request.output, content, force=request.force)
    positions, pools, size = drawn.public.key.asked.form
    return Planned(
        drawn.channel.commitment,
        drawn.channel.committed_at,
        candidates.digest,
        str(request.output),
        recipient,
        positions,
        pools,
        size,
        int(train.sum()),
        len(held),
        blind,
        committed.notes,
        vault.ledger.head(),
    )


def _digests(shadows: Sequence[Shadowing]) -> dict[str, npt.NDArray[np.uint8]]:
    """Return what is kept of shadow models with a plan; nothing where there are none."""
    text = " ".join(sorted(shadow.digest for shadow in shadows))
    return {"committed": np.frombuffer(text.encode(), dtype=np.uint8)} if text else {}


def blind_of(drawn: DrawnChannel, name: str, candidates: Candidates) -> Blind:
    """Return whether a classifier that never sees a model can tell which pools somebody's word has trained on."""
    key = drawn.public.key
    return blind_baseline(candidates.inputs, candidates.labels, key.rows, drawn.words([name])[0])


def _rows(drawn: DrawnChannel, name: str, count: int) -> npt.NDArray[np.bool_]:
    train = np.zeros(count, dtype=bool)
    for constraint in drawn.scheme.plan(drawn.claim(name)):
        if isinstance(constraint, Membership):
            train[constraint.rows] = True
    return train


def register_plan(vault: Vault, drawn: DrawnChannel, profile: ModelProfile, at: str) -> ReferenceEntry:
    """Register the data as what suspects are held against: it has no weights, and one claim."""
    channel = drawn.channel
    payload = payload_of(profile, [channel], Sketch(()))
    return vault.ledger.register(ReferenceEntry(called(channel), profile.digest, None, channel.commitment, payload, at))


def called(channel: Channel) -> str:
    """Return under which name the ledger keeps the plans of a draw."""
    return f"{channel.commitment}:{channel.beacon}" if channel.beacon else channel.commitment


def _nobody(inputs: npt.NDArray[Any]) -> Floats:
    raise UsageError(f"there is no model to ask {len(inputs)} inputs yet")


def planned_rows(planned: Planned) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    whose = [("for", planned.recipient)] if planned.recipient else []
    return [
        ("claim", f"{SCHEME} {planned.commitment}"),
        ("committed at", planned.committed_at),
        *whose,
        ("data", planned.data),
        ("plan", f"{planned.output}: train on `train_rows` ({planned.train_rows}), never on `held_rows`"),
        ("held back", f"{planned.held_rows} rows"),
        ("without a model", planned.blind.says),
        *[("pools", note) for note in planned.notes],
        ("ledger head", planned.head),
    ]

"""Check pools before they are relied on: told without a model? near-duplicates? what does the owner's model show?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from onnxfp.artifact import open_artifact
from onnxfp.domain import QueryProbe, Unanswered
from onnxfp.errors import UsageError
from onnxfp.keys.recipient import canonical_name
from onnxfp.membership.alike import groups
from onnxfp.membership.pools import rows_to_train
from onnxfp.membership.power import Needed, needed
from onnxfp.membership.reading import alone, pooled
from onnxfp.suspect.session import open_session
from onnxfp.workflows.channels import OWNER, DrawnChannel
from onnxfp.workflows.claims import RegisteredClaim, chosen_claims, claims_about_copies
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.judge import Progress, log_look, registered_references
from onnxfp.workflows.plan_pools import SCHEME, blind_of, called
from onnxfp.workflows.pool_data import PoolData, PoolsAt, about, leads, open_pool_data, standard_errors, with_shadows
from onnxfp.workflows.reaching import refuse_ignored
from onnxfp.workflows.suspects import SEALED
from onnxfp.workflows.vault import Vault

LOOSELY = 0.95
"""Correlation of rows that are looked at besides: not near-duplicates, but alike."""


@dataclass(frozen=True)
class Checking:
    """What is asked of `check_pools`."""

    pools: PoolsAt
    at: str
    """Now, UTC, ISO 8601."""
    model: Path | None = None
    """A model of the owner's that was trained as the plan says."""
    recipient: str = ""
    """Whose plan; empty for the owner's."""
    claim: str = ""
    """First digits of the plan; empty for the latest."""
    alpha: float = 1e-6


@dataclass(frozen=True)
class Shown:
    """What one score shows of a model."""

    score: str
    log10_e: float
    """Evidence that it alone gives of this model."""
    effect: float
    """Deviations of a row's score by which pools that were trained on lead."""
    z: float
    """The same in standard errors, over all positions."""
    positions: int
    """That are enough for 99 in 100 models with this effect, if scores were Gaussian; 0 where ten million are not."""


@dataclass(frozen=True)
class Checked:
    """What was found."""

    claim: str
    committed_at: str
    positions: int
    auc: float
    auc_low: float
    auc_high: float
    """Of a classifier that never sees a model, with its 99.99 % interval."""
    duplicates_across: int
    """Groups of near-duplicates of which some are trained on and some held back, as the plan takes them."""
    alike_across: int
    """Groups of rows with a correlation of 0.95."""
    says: str
    passed: bool
    shown: tuple[Shown, ...] = field(default=())


def check_pools(vault: Vault, request: Checking, progress: Progress) -> Checked:
    """Check the plan over some data.

    Raises:
        UsageError: there is no plan over these data, or no data, or shadow models are given without a model.
        ArtifactError: the model cannot be run.
    """
    if request.model is None:
        beside = {"--shadow": request.pools.shadows, "--augment": request.pools.augment}
        refuse_ignored(beside, "a plan without a --model that was trained by it")
    if request.recipient:
        request = replace(request, recipient=canonical_name(request.recipient))
    with open_pool_data(vault, request.pools) as data:
        if data is None:
            raise UsageError("pools are of candidate data; give them with --data")
        claim = _claim(vault, request, data)
        drawn = claim.draw(vault)
        name = drawn.word_of(request.recipient)
        progress("asking whether the rows can be told without a model")
        blind = blind_of(drawn, name, data.candidates)
        key = drawn.public.key
        train = rows_to_train(key.rows, key.group, drawn.words([name])[0])
        progress("looking for near-duplicates")
        across = [_across(group, train) for group in (key.group, groups(data.candidates.inputs, LOOSELY))]
        asked = request.model is not None and not blind.told
        shown = _shown(vault, claim, data, request, progress) if asked else ()
    return Checked(
        claim.name,
        claim.laid_down_at,
        key.positions,
        blind.auc,
        blind.low,
        blind.high,
        across[0],
        across[1],
        blind.says,
        not blind.told and not across[0],
        shown,
    )


def _claim(vault: Vault, request: Checking, data: PoolData) -> RegisteredClaim:
    references = registered_references(vault)
    if not request.recipient:
        known = chosen_claims(references, SEALED, SCHEME, data)
        found = [claim for claim in known if claim.is_called(request.claim)]
        if not found:
            raise UsageError(f"no plan is called {request.claim!r}; there are: {', '.join(one.name for one in known)}")
        return found[-1]
    plans = [claim for claim in claims_about_copies(references, SEALED, data) if claim.is_called(request.claim)]
    found = [one for one in plans if request.recipient in vault.ledger.recipients(called(one.channel))]
    if not found:
        raise UsageError("that recipient has no plan over these data; make one with `onnxfp pools plan --to`")
    return found[-1]


def _across(group: Any, train: Any) -> int:
    """Return how many groups are partly trained on."""
    size = np.bincount(group, minlength=len(group))
    trained = np.bincount(group, weights=train, minlength=len(group))
    return int(((trained > 0) & (trained < size)).sum())


def _shown(
    vault: Vault, claim: RegisteredClaim, data: PoolData, request: Checking, progress: Progress
) -> tuple[Shown, ...]:
    """Ask a model of the owner's, and tell by every score how far its members lead; a look like any other."""
    (beside,) = with_shadows(vault, [claim], data, progress)
    drawn: DrawnChannel = beside.draw(vault)
    key, word = drawn.public.key, drawn.words([drawn.word_of(request.recipient) or OWNER])[0]
    (probe,) = (probe for probe in drawn.scheme.probes(drawn.public) if isinstance(probe, QueryProbe))
    assert request.model is not None
    with open_artifact(request.model) as artifact:
        identity = cached_digest(artifact, vault.root / "digests.json")
    log_look(vault, identity, request.alpha, request.at, ["check", claim.key, data.settings, *about(data)])
    progress(f"asking {request.model.name}")
    with open_session(request.model) as session:
        answered = session.answer(probe)
    if isinstance(answered, Unanswered):
        raise UsageError(f"{request.model}: {answered.reason}; give a model of these inputs")
    told = key.asked.told(answered.values)
    _, pools, size = key.asked.form
    rows = []
    for name, score in key.asked.scores(told).items():
        standing = pooled(score, key.asked.form)
        lead = leads(standing, word)
        z = standard_errors(lead)
        effect = float(lead.mean()) / math.sqrt(size)
        takes = needed(effect, pools, size, request.alpha, 0.99) if effect > 0 else Needed(size, 0, 0)
        rows.append(Shown(name, alone(standing, word), effect, z, takes.positions))
    return tuple(sorted(rows, key=lambda row: -row.log10_e))


def checked_rows(checked: Checked) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    rows = [
        ("claim", f"{checked.claim}, committed at {checked.committed_at}"),
        ("without a model", checked.says),
        ("near-duplicates", f"{checked.duplicates_across} groups on both sides; {checked.alike_across} merely alike"),
    ]
    for one in checked.shown:
        rows.append((f"by {one.score}", f"log10 e = {one.log10_e:.1f}; effect {one.effect:.3f}, z = {one.z:.1f}"))
    return [*rows, ("verdict", "sound" if checked.passed else "not sound: it proves nothing")]


@dataclass(frozen=True)
class Power:
    """How many positions are needed."""

    effect: float
    alpha: float
    power: float
    pools: int
    needed: tuple[Needed, ...]


def power_of(effect: float, pools: int, sizes: tuple[int, ...], alpha: float, power: float) -> Power:
    """Return how many positions are needed, for pools of several sizes.

    Raises:
        UsageError: a number is out of its bounds.
    """
    return Power(effect, alpha, power, pools, tuple(needed(effect, pools, size, alpha, power) for size in sizes))


def power_rows(found: Power) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    rows = [("effect", f"{found.effect:g} deviations of a row's score"), ("level", f"alpha = {found.alpha:g}")]
    for one in found.needed:
        what = f"{one.positions} positions of {found.pools} pools, {one.rows} rows" if one.positions else "never"
        rows.append((f"pools of {one.size}", f"{what}, for a probability of {found.power:.0%}"))
    return rows

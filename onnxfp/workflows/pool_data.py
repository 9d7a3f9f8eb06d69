"""Pool data: candidate data as a look is given them, with the shadow models that a suspect is compared with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Answered, Floats, QueryProbe, Symbols, Unanswered, Verdict
from onnxfp.errors import UsageError
from onnxfp.membership.reading import pooled
from onnxfp.membership.scores import Hardness
from onnxfp.schemes.interface import Samples
from onnxfp.suspect.session import open_session
from onnxfp.workflows.candidates import Candidates, open_candidates
from onnxfp.workflows.channels import OWNER, DrawnChannel
from onnxfp.workflows.claims import RegisteredClaim
from onnxfp.workflows.judge import Progress
from onnxfp.workflows.plan_pools import SCHEME, blind_of
from onnxfp.workflows.shadow_models import Shadowing, shadow_models
from onnxfp.workflows.vault import Vault

_TRUST = (
    "It also takes the claimant's word that {late} of the shadow models were trained without the plan: they were not "
    "committed to with it."
)
_BY_CHANCE = 1e-4  # probability with which a shadow model that knows no plan is refused


@dataclass(frozen=True)
class PoolsAt:
    """Where the data of pools are, and what a suspect is compared with."""

    data: Path | None = None
    """None for no data: then no claim about pools is weighed."""
    shadows: tuple[str, ...] = ()
    """Model files; after a comma, an ``.npz`` whose `train_rows` says which rows one was trained on, if on any."""
    augment: int = 0
    """Moved copies of each row that are asked besides."""

    def check(self) -> None:
        """Refuse what would be ignored.

        Raises:
            UsageError: something is said of data that are not given.
        """
        if self.data is None and (self.shadows or self.augment):
            raise UsageError(
                f"{'--shadow' if self.shadows else '--augment'} is about pools: give the candidate data with --data"
            )


@dataclass(frozen=True)
class PoolData:
    """What a look at pools is given."""

    candidates: Candidates
    shadows: tuple[Shadowing, ...] = ()
    augment: int = 0

    @property
    def digest(self) -> str:
        """That of the candidate data."""
        return self.candidates.digest

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.candidates.inputs)

    @property
    def samples(self) -> Samples:
        """The data by name, as a scheme takes them."""
        return {**self.candidates.samples, "moved": np.asarray(self.augment)}

    @property
    def settings(self) -> dict[str, Any]:
        """What a look depends on besides the suspect."""
        return {"shadows": [shadow.digest for shadow in self.shadows], "augment": self.augment}


@contextmanager
def open_pool_data(vault: Vault, given: PoolsAt) -> Iterator[PoolData | None]:
    """Open what a look at pools is given; nothing where no data are.

    Raises:
        UsageError: something cannot be read, or is of the wrong form.
        ArtifactError: a shadow model is none.
    """
    given.check()
    if given.data is None:
        yield None
        return
    with open_candidates(given.data) as candidates:
        shadows = shadow_models(vault, given.shadows, len(candidates.inputs))
        yield PoolData(candidates, shadows, given.augment)


def with_shadows(
    vault: Vault, claims: Sequence[RegisteredClaim], data: PoolData | None, progress: Progress
) -> tuple[RegisteredClaim, ...]:
    """Return claims with what the shadow models answer to the rows that they are about.

    Raises:
        UsageError: a shadow model does not answer with scores, or the owner's rows can be told without any model.
    """
    return tuple(
        claim if data is None or not claim.scheme.handed else _with_shadows(vault, claim, data, progress)
        for claim in claims
    )


def _with_shadows(vault: Vault, claim: RegisteredClaim, data: PoolData, progress: Progress) -> RegisteredClaim:
    drawn = claim.draw(vault)
    if claim.channel.role == OWNER:
        progress("asking whether the rows can be told without a model")
        blind = blind_of(drawn, OWNER, data.candidates)
        if blind.told:
            raise UsageError(f"{claim.name} proves nothing: {blind.says}; weigh another claim")
    (probe,) = (probe for probe in drawn.scheme.probes(drawn.public) if isinstance(probe, QueryProbe))
    answers = []
    for shadow in data.shadows:
        progress(f"asking shadow model {shadow.path.name}")
        answers.append(_answers(shadow.path, probe))
    members = np.asarray([shadow.member for shadow in data.shadows]).reshape(len(answers), data.rows)
    handed = {**claim.handed, "shadows": _stacked(answers, len(probe.inputs)), "members": members}
    beside = replace(claim, handed=handed)
    _refuse_planned(claim.name, beside.draw(vault), vault.ledger.recipients(), data.shadows)
    late = sum(shadow.digest not in drawn.public.key.committed for shadow in data.shadows)
    return replace(beside, trusts=_TRUST.format(late=late)) if late else beside


def with_trust(verdict: Verdict, claims: Sequence[RegisteredClaim]) -> Verdict:
    """Return a verdict whose null says what besides the key is taken on trust."""
    trusts = " ".join(dict.fromkeys(claim.trusts for claim in claims if claim.trusts))
    return replace(verdict, null=f"{verdict.null} {trusts}") if trusts else verdict


def _refuse_planned(name: str, drawn: DrawnChannel, recipients: Sequence[str], shadows: Sequence[Shadowing]) -> None:
    """Refuse shadow models that know the plan: a suspect's score beside them would tell of their training, not its own.

    A model that was trained on what the plan holds back makes those rows easy, so that an innocent suspect looks as if
    it had been trained on the others. One that is independent of the plan is refused with a probability of 0.01 %.
    """
    from scipy.stats import norm

    asked = drawn.public.key.asked
    if not shadows:
        return
    words = drawn.words([OWNER] if drawn.channel.role == OWNER else recipients)
    hard = Hardness.of(asked.shadows)
    told = [(f"shadow model {given.path}", one) for shadow, given in zip(asked.shadows, shadows, strict=True)
            for one in (shadow.told.margin(), shadow.told.loss(), shadow.member.astype(np.float64))]  # fmt: skip
    told += [("the mean of the shadow models", one) for one in (hard.margin, hard.probability)]
    most = float(norm.isf(_BY_CHANCE / max(1, 2 * len(told) * len(words))))
    for who, score in told:
        standing = pooled(score, asked.form)
        if any(abs(standard_errors(leads(standing, word))) > most for word in words):
            raise UsageError(
                f"{who} knows which rows {name} trains on or holds back, and would decide in the suspect's place; "
                "give models that were trained without that plan: on other data, or on a random half of these; or name "
                "another plan with --claim"
            )


def leads(standing: Floats, word: Symbols) -> Floats:
    """Return (positions,): how far the pool of a word is ahead of the mean of the others, from standings of pools."""
    trained = standing[np.arange(len(word)), word]
    lead: Floats = trained - (standing.sum(axis=1) - trained) / (standing.shape[1] - 1)
    return lead


def standard_errors(lead: Floats) -> float:
    """Return by how many standard errors the mean differs from nothing."""
    return float(lead.mean() / max(1e-12, lead.std()) * math.sqrt(len(lead)))


def about(data: PoolData | None) -> list[str]:
    """Return what tells a look at claims about these data from one about others, or about none."""
    return [] if data is None else [f"data {data.digest}"]


def refuse_others(data: PoolData | None, shadows: Sequence[str], augment: int) -> None:
    """Refuse to make a verdict again with other shadow models, or other copies of rows.

    Raises:
        UsageError: they are others.
    """
    if data is not None and data.settings != {"shadows": list(shadows), "augment": augment}:
        raise UsageError("the transcript was made with other shadow models or --augment; give the same again")


def refuse_missing(data: PoolData | None, claims: Sequence[str]) -> None:
    """Refuse to make a verdict again without the data that it is about; claims are as a transcript calls them.

    Raises:
        UsageError: they are not given.
    """
    if data is None and any(claim.startswith(f"{SCHEME}:") for claim in claims):
        raise UsageError("the transcript is of a claim about data that the vault does not keep; give them with --data")


def _answers(path: Path, probe: QueryProbe) -> Floats:
    with open_session(path) as session:
        match session.answer(probe):
            case Answered(values) if values.ndim == 2 and np.isfinite(values).any():
                return values
            case Unanswered(reason):
                raise UsageError(f"shadow model {path}: {reason}; give models of the same inputs")
    raise UsageError(
        f"shadow model {path} returns labels without scores, or nothing for these rows; give models that return scores"
    )


def _stacked(answers: Sequence[Floats], samples: int) -> npt.NDArray[np.float32]:
    """Return (shadows, samples, classes): what has fewer classes never says the others."""
    width = max((said.shape[1] for said in answers), default=1)
    table = np.full((len(answers), samples, width), -np.inf, dtype=np.float32)
    for row, said in zip(table, answers, strict=True):
        row[:, : said.shape[1]] = said
    return table

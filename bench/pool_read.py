"""What a judge reads of suspects: evidence by every score, for any number of pairs and of shadow models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.pool_models import Subject, mixed, shadows
from fixtures import cnn
from onnxfp.codes.uniform import Uniform
from onnxfp.domain import Answered, Codebook, Floats
from onnxfp.membership.reading import AskedPools, alone, pool_reading, pooled
from onnxfp.membership.scores import Shadow
from onnxfp.verdict.betting import log10_e, place_bet
from onnxfp.workflows.candidates import open_candidates
from onnxfp.workflows.channels import OWNER, DrawnChannel
from onnxfp.workflows.claims import chosen_claims
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.pool_data import PoolData
from onnxfp.workflows.suspects import SEALED
from onnxfp.workflows.vault import open_vault

ALPHA = 1e-6
NEEDED = -float(np.log10(ALPHA))


@dataclass
class Judge:
    """The owner of one protected model, with the data and the shadow models."""

    subject: Subject
    _kept: dict[Path, Floats] = field(default_factory=dict)

    @cached_property
    def drawn(self) -> DrawnChannel:
        """The claim."""
        self.subject.plan  # noqa: B018
        with open_vault(self.subject.folder / "vault", None) as vault, open_candidates(self.subject.candidates) as data:
            references = registered_references(vault)
            (claim,) = chosen_claims(references, SEALED, "pools", PoolData(data))
            return claim.draw(vault)

    @property
    def asked(self) -> AskedPools:
        """What is asked, beside no shadow model."""
        asked: AskedPools = self.drawn.public.key.asked
        return asked

    @cached_property
    def word(self) -> Any:
        """(positions,): which row of each pair was trained on."""
        return self.drawn.words([OWNER])[0]

    def answers(self, path: Path) -> Floats:
        """What a file answers to the rows that are asked, (rows, classes) log-probabilities."""
        if path not in self._kept:
            self._kept[path] = log_probabilities(path, self.subject.split.x_train[: self.subject.kind.candidates])
        return self._kept[path][self.drawn.public.key.views.rows]

    def beside(self, count: int, *, learning: bool = False) -> tuple[Shadow, ...]:
        """So many shadow models that were trained on other rows and, to learn from, one trained on half of these."""
        paths = shadows(self.subject.task)[:count]
        found = [Shadow(self.asked.told(self.answers(path)), np.zeros(len(self.asked.labels), bool)) for path in paths]
        if learning:
            path, rows = mixed(self.subject.task)
            member = np.isin(self.drawn.public.key.views.rows, rows)
            found.append(Shadow(self.asked.told(self.answers(path)), member))
        return tuple(found)

    def evidence(self, values: Floats, beside: Sequence[Shadow] = (), pairs: int = 0) -> dict[str, float]:
        """log10 e of the first pairs by all scores together, as a verdict has it, and by each alone."""
        part = self.part(pairs, tuple(beside))
        values, word = values[: len(part.labels)], self.word[None, : part.form[0]]
        book = codebook(part.form)
        together = float(log10_e(pool_reading(part, book, Answered(values)), book, word)[0])
        return {"together": together} | by_score(part, values, word[0])

    def part(self, pairs: int, beside: tuple[Shadow, ...]) -> AskedPools:
        """The first pairs of what is asked."""
        positions, pools, size = self.asked.form
        count = min(pairs or positions, positions)
        rows = count * pools * size
        shadows_ = tuple(
            Shadow(replace(one.told, values=one.told.values[:rows], labels=one.told.labels[:rows]), one.member[:rows])
            for one in beside
        )
        return AskedPools((count, pools, size), 1, self.asked.labels[:rows], shadows_)

    def strangers(self, values: Floats, beside: Sequence[Shadow], words: int) -> Floats:
        """log10 e of words that were drawn anew (words,), for one suspect."""
        part = self.part(0, tuple(beside))
        book = codebook(part.form)
        bet = place_bet(pool_reading(part, book, Answered(values)), book)
        names = [f"key {number}" for number in range(words)]
        return np.concatenate([bet.log10_e(self.drawn.words(names[at : at + 250])) for at in range(0, words, 250)])


@cache
def judge_of(one: Subject) -> Judge:
    """The owner of a model, who asks no shadow model twice."""
    return Judge(one)


def by_score(asked: AskedPools, values: Floats, word: Any) -> dict[str, float]:
    """log10 e by each score alone."""
    found: Mapping[str, Floats] = asked.scores(asked.told(values))
    return {name: alone(pooled(score, asked.form), word) for name, score in found.items()}


def codebook(form: tuple[int, int, int]) -> Codebook:
    """That of pools of which each is equally probable."""
    return Uniform(form[1]).codebook(None, form[0])  # type: ignore[arg-type]


def log_probabilities(path: Path, images: Any) -> Floats:
    """What a file answers, (samples, classes)."""
    logits = cnn.answers(path, images).astype(np.float64)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)

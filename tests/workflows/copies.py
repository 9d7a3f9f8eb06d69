"""A vault whose copies can be told by weights and by answers, prepared without any training, and suspects of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from onnxfp.domain import Access, Answered, Head, Probe, QueryProbe, Response, Unanswered, WeightProbe
from onnxfp.schemes.catalogue import scheme_named
from onnxfp.workflows.channels import RECIPIENT, DrawnChannel
from onnxfp.workflows.commit import Intent, commit, drawn_for
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.suspects import ALL, SEALED, ExaminedSealed
from onnxfp.workflows.vault import Vault
from tests.schemes.strangers import classifier
from tests.workflows.vaults import ASK, AT, FORMS, MODEL, digits, profile_of, registered

HOLDERS = tuple(f"Holder {number}" for number in range(8))
PLACE = "https://suspect.example"


def prepared(vault: Vault, model: Path = MODEL, positions: int = 32, **options: object) -> None:
    """Register a model as one that was prepared for copies."""
    features = np.random.default_rng(1).standard_normal((300, 4 * positions))
    profile = replace(profile_of(vault, model), head=Head("head", (10, 4 * positions), 0, 1.0))
    intent = Intent("deeptrace", {"positions": positions, "labels": 8, **options}, AT)
    committed = commit(vault, profile, intent, {"inputs": digits(), "features": features}, ASK)
    registered(vault, drawn_for(vault, committed, "", AT), model, weights=True)


def held(vault: Vault, holders: Sequence[str] = HOLDERS) -> None:
    """Reserve copies of the first reference."""
    (first, *_) = vault.ledger.references()
    for name in holders:
        vault.ledger.reserve(first.reference, name, AT)


def channels(vault: Vault, access: Access, number: int = 0) -> list[DrawnChannel]:
    """What tells copies of one of the references apart."""
    reference = registered_references(vault)[number]
    about = [channel for channel in reference.channels if channel.role == RECIPIENT]
    return [reference.draw(vault, one) for one in about if scheme_named(one.scheme).access is access]


@dataclass
class Leaked:
    """A suspect whose weights show one recipient's word and whose answers show another's; "" for nobody's."""

    vault: Vault
    weights: str = ""
    answers: str = ""
    form: str = "labels"
    reference: int = 0
    requests: list[np.ndarray] = field(default_factory=list)
    read: int = 0

    def __post_init__(self) -> None:
        self.known: dict[bytes, int] = {}
        for drawn in channels(self.vault, Access.LABELS, self.reference) if self.answers else []:
            (probe,) = drawn.scheme.probes(drawn.public)
            (told,) = drawn.scheme.knower(drawn.claim(self.answers))
            self.known |= {one.tobytes(): int(label) for one, label in zip(probe.inputs, told.values, strict=True)}

    def beside(self, digest: str) -> _Beside:
        return _Beside(self, digest)

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        answers = classifier(10, seed=9)(inputs)
        for row, one in enumerate(inputs):
            if one.tobytes() in self.known:
                answers[row] = np.log(np.full(10, 0.001) + 0.99 * np.eye(10)[self.known[one.tobytes()]])
        return answers

    def examined(self, access=ALL, *, place: str = "", identity: str = "the suspect", **more) -> ExaminedSealed:
        return ExaminedSealed(identity, self.beside(""), place, access, recorded_beside=self.beside, **more)

    def remote(self) -> ExaminedSealed:
        return self.examined(SEALED, place=PLACE, identity=PLACE, repeats=None)


@dataclass(frozen=True)
class _Beside:
    """The suspect beside one reference: its weights show what they show beside the one that it comes from."""

    suspect: Leaked
    digest: str

    def answer(self, probe: Probe) -> Response:
        suspect = self.suspect
        if isinstance(probe, QueryProbe):
            suspect.requests.append(probe.inputs)
            return FORMS[suspect.form](len(suspect.requests), suspect.scores(probe.inputs))
        assert isinstance(probe, WeightProbe)
        suspect.read += 1
        own = registered_references(suspect.vault)[suspect.reference].digest == self.digest
        if not own:
            return Unanswered("no tensor has the shape of a carrier")
        (drawn,) = channels(suspect.vault, Access.WEIGHTS, suspect.reference)
        if not suspect.weights:
            return Answered(np.random.default_rng(5).standard_normal(drawn.public.codebook.positions))
        (told,) = drawn.scheme.knower(drawn.claim(suspect.weights))
        assert isinstance(told, Answered)
        return told

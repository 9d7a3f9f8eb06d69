"""A vault with a claim that only answers can prove: committed, drawn and registered without any training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from onnxfp.artifact import carriers, open_artifact
from onnxfp.demo import path as demo_file
from onnxfp.domain import Answered, ModelProfile, Probe, QueryProbe, Response, Unanswered
from onnxfp.keys.keyfile import OwnerKey
from onnxfp.keys.keystream import Keystream
from onnxfp.ledger import create_ledger, open_ledger
from onnxfp.workflows.channels import OWNER, DrawnChannel, draw
from onnxfp.workflows.commit import Committed, Intent, commit, drawn_for
from onnxfp.workflows.digests import cached_digest
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.register import Registration, channels_of, record
from onnxfp.workflows.vault import Vault
from tests.schemes.strangers import classifier

AT = "2026-01-02T03:04:05+00:00"
SECRET = bytes(range(32))
MODEL = demo_file("digits.onnx")
OPTIONS = {"positions": 32, "taught": 1}
ASK = classifier(10)


def quiet(step: str) -> None:
    """Say nothing."""


def digits() -> np.ndarray:
    with np.load(demo_file("digits_train.npz")) as arrays:
        return arrays["inputs"]


@contextmanager
def fixed_vault(root: Path) -> Iterator[Vault]:
    """A vault of a fixed owner; the second time the same one."""
    chain_key = Keystream(SECRET).derive("ledger").secret
    make = open_ledger if (root / "ledger.db").exists() else create_ledger
    root.mkdir(exist_ok=True)
    with make(root / "ledger.db", chain_key) as ledger:
        yield Vault(root, OwnerKey(SECRET), ledger)


def profile_of(vault: Vault, model: Path = MODEL) -> ModelProfile:
    with open_artifact(model) as artifact:
        return ModelProfile(cached_digest(artifact, vault.root / "digests.json"), carriers(artifact))


def committed(vault: Vault, at: str = AT, inputs: np.ndarray | None = None, **options: object) -> Committed:
    """Commit to a claim about the shipped digits."""
    scheme = str(options.pop("scheme", "zhang"))
    intent = Intent(scheme, {**(OPTIONS if scheme == "zhang" else {}), **options}, at)
    data = {"inputs": digits() if inputs is None else inputs}
    return commit(vault, profile_of(vault), intent, data, ASK)


def registered(vault: Vault, drawn: DrawnChannel, model: Path = MODEL, *, weights: bool = False) -> None:
    """Register a model as one that bears a claim, and marks for copies besides."""
    with open_artifact(model) as artifact:
        profile = profile_of(vault, model)
        registration = Registration(model, "spread", {}, AT)
        copies = [draw(channel, profile, vault.reference_key(profile.digest)) for channel in channels_of(registration)]
        record(vault, registration, artifact, profile, [*(copies if weights else []), drawn])


def claimed(vault: Vault, beacon: str = "", **options: object) -> DrawnChannel:
    """Commit, draw and register."""
    if beacon:
        committed(vault, **options)
    drawn = drawn_for(vault, committed(vault, **options), beacon, AT)
    registered(vault, drawn)
    return drawn


def the_claim(vault: Vault) -> DrawnChannel:
    """The claim that answers can prove, drawn again from the vault."""
    for reference in registered_references(vault):
        for channel in reference.channels:
            if channel.role == OWNER and channel.commitment:
                return reference.draw(vault, channel)
    raise LookupError("no claim")


class Model:
    """A suspect that knows the key labels of some triggers and else answers like somebody else's model."""

    def __init__(self, drawn: DrawnChannel | None = None, *, form: str = "labels", share: float = 1.0) -> None:
        self.form, self.known, self.requests = form, {}, 0
        self.stranger = classifier(10, seed=9)
        if drawn is not None:
            (probe,) = drawn.scheme.probes(drawn.public)
            reference = drawn.public.key.reference
            labels = np.repeat(reference.classes[drawn.claim(OWNER).codeword], reference.each)
            kept = int(share * len(labels))
            self.known = {
                one.tobytes(): int(label) for one, label in zip(probe.inputs[:kept], labels[:kept], strict=True)
            }

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        answers = self.stranger(inputs)
        for row, one in enumerate(inputs):
            if one.tobytes() in self.known:
                answers[row] = np.log(np.full(10, 0.001) + 0.99 * np.eye(10)[self.known[one.tobytes()]])
        return answers

    def answer(self, probe: Probe) -> Response:
        """Answer in this suspect's form."""
        assert isinstance(probe, QueryProbe)
        self.requests += 1
        return FORMS[self.form](self.requests, self.scores(probe.inputs))


def _labels(scores: np.ndarray) -> np.ndarray:
    return scores.argmax(axis=1).astype(np.float64)


def _best_three(scores: np.ndarray) -> np.ndarray:
    return np.where(scores < np.sort(scores, axis=1)[:, -3:-2], -np.inf, scores)


# By name: what is answered to a request, given its number and the scores of a model that answers honestly.
FORMS: dict[str, Callable[[int, np.ndarray], Response]] = {
    "labels": lambda at, scores: Answered(_labels(scores), provider="somewhere"),
    "scores": lambda at, scores: Answered(scores, unread=("a note",), provider="somewhere"),
    "best three": lambda at, scores: Answered(_best_three(scores)),
    "scores with gaps": lambda at, scores: Answered(np.where((_labels(scores) % 3 == 0)[:, None], np.nan, scores)),
    "every second": lambda at, scores: Answered(_labels(scores)) if at % 2 else Unanswered(f"busy {at % 3}"),
    "silent": lambda at, scores: Unanswered("the door was shut"),
    "of another form": lambda at, scores: Unanswered("takes text", unfit=True),
    "scores, then labels": lambda at, scores: Answered(scores if at < 4 else _labels(scores)),
    "labels, then scores": lambda at, scores: Answered(_labels(scores) if at < 4 else scores),
    "fickle": lambda at, scores: Answered((_labels(scores) + at % 2) % 10),
    "another number": lambda at, scores: Answered(np.resize(_labels(scores), len(scores) + at % 3 - 1)),
    "garbage": lambda at, scores: Answered(np.resize([np.inf, -np.inf, -1.0, 0.5, 1e300], len(scores))),
}

"""A small claim whose word a test may dictate, and suspects that answer it in every way there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxfp.codes.allowed import Allowed
from onnxfp.codes.key_labels import Asked
from onnxfp.codes.key_pairs import AskedPairs, pair_reading
from onnxfp.codes.uniform import Uniform
from onnxfp.domain import Answered, Claim, Codebook, Probe, PublicClaim, QueryProbe, Response, Unanswered
from onnxfp.keys.keystream import Keystream
from onnxfp.schemes.extra_class import ExtraClass
from onnxfp.schemes.zhang import Zhang, ZhangKey
from onnxfp.workflows.channels import OWNER, Channel, DrawnChannel

KEY = Keystream(bytes(range(32)))
ORDINARY = np.arange(1000, 1020, dtype=np.float32).reshape(-1, 1)


@dataclass(frozen=True)
class Dictated:
    """A code that gives everybody the word that it is told."""

    code: Allowed
    word: np.ndarray
    name: str = "dictated"
    independent: bool = True

    @property
    def allowed(self) -> np.ndarray:
        return self.code.allowed

    def refuse_shared_word(self, keystream, name, others) -> None:
        """All words are shared."""

    def codebook(self, keystream, positions) -> Codebook:
        return self.code.codebook(keystream, positions)

    def words(self, keystream, codebook, recipients) -> np.ndarray:
        return np.tile(self.word, (len(recipients), 1))


def quiz(positions: int = 24, classes: int = 10, each: int = 1, word: np.ndarray | None = None) -> DrawnChannel:
    """A claim about triggers that are numbered from 0 on; the reference answers the class of that number."""
    samples = positions * each
    own = np.repeat(np.arange(positions) % classes, each)
    answers = np.log(np.full((samples, classes), 0.1 / classes) + 0.9 * np.eye(classes)[own])
    asked = Asked.of(answers, each, 64, KEY)
    code = Allowed(asked.allowed())
    codebook = code.codebook(KEY, positions)
    chosen = code.words(KEY, codebook, [OWNER])[0] if word is None else np.asarray(word, dtype=np.uint8)
    inputs = np.arange(samples, dtype=np.float32).reshape(-1, 1)
    key = ZhangKey(None, inputs, asked, Dictated(code, chosen))  # type: ignore[arg-type]
    return DrawnChannel(Channel(OWNER, "zhang", {}), Zhang(), PublicClaim(key, codebook), KEY)


@dataclass(frozen=True)
class DictatedPairs(Uniform):
    """Words of two symbols, all of them the one that it is told."""

    word: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint8))

    def words(self, keystream, codebook, recipients) -> np.ndarray:
        return np.tile(self.word, (len(recipients), 1))


def pairs_quiz(word: Sequence[int], known: int = 16) -> DrawnChannel:
    """A claim about pairs of pictures: 0 .. 2 known - 1 are known to the judge; the reference is sure of nothing."""
    symbols, positions = np.arange(known, dtype=np.uint8) % 2, len(word)
    answers = np.random.default_rng(0).standard_normal((2 * (known + positions), 4))
    asked = AskedPairs(answers - np.log(np.exp(answers).sum(axis=1, keepdims=True)), symbols)
    key = _NumberedPairs(asked, DictatedPairs(word=np.asarray(word, dtype=np.uint8)))
    public = PublicClaim(key, key.code.codebook(KEY, positions))
    return DrawnChannel(Channel(OWNER, "extra_class", {}), NumberedPairs(), public, KEY)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _NumberedPairs:
    asked: AskedPairs
    code: DictatedPairs


class NumberedPairs:
    """The additional class on inputs that are numbers."""

    def probes(self, public) -> tuple[QueryProbe, ...]:
        asked = public.key.asked
        inputs = np.arange(len(asked.answers), dtype=np.float32).reshape(-1, 1)
        return (QueryProbe(inputs, 2, asked.added + 1, before=2 * len(asked.known)),)

    def read(self, public, responses):
        return pair_reading(public.key.asked, public.codebook, responses[0])

    def knower(self, claim) -> tuple[Answered, ...]:
        return ExtraClass().knower(claim)


def key_labels(drawn: DrawnChannel) -> np.ndarray:
    """The key label of every trigger (samples,)."""
    claim: Claim = drawn.claim(OWNER)
    reference = drawn.public.key.reference
    return np.repeat(reference.classes[claim.codeword], reference.each)


def own_labels(drawn: DrawnChannel) -> np.ndarray:
    """What the reference answers to every trigger (samples,)."""
    return drawn.public.key.reference.labels


@dataclass
class Answering:
    """A suspect that answers each request as a function of its number, and remembers what it was sent."""

    reply: Callable[[int, np.ndarray], Response]
    requests: list[np.ndarray] = field(default_factory=list)

    def answer(self, probe: Probe) -> Response:
        assert isinstance(probe, QueryProbe)
        self.requests.append(probe.inputs)
        return self.reply(len(self.requests) - 1, probe.inputs[:, 0].astype(np.int64))

    @property
    def triggers(self) -> list[int]:
        """All triggers that were sent, in their order."""
        sent = np.concatenate(self.requests)[:, 0].astype(int) if self.requests else np.zeros(0, dtype=int)
        return [number for number in sent.tolist() if number < 1000]


def table(labels: Sequence[float], ordinary: float = 0.0) -> Callable[[np.ndarray], np.ndarray]:
    """Numbers of inputs to their labels; all ordinary ones have the same."""
    known = np.asarray(labels, dtype=np.float64)
    return lambda numbers: np.where(numbers < 1000, known[numbers % len(known)], ordinary)


def good(labels, provider: str = "") -> Answering:
    """Answers the labels that it knows."""
    look_up = table(labels)
    return Answering(lambda at, numbers: Answered(look_up(numbers), provider=provider))


def scores(labels: np.ndarray, classes: int = 10) -> np.ndarray:
    """Log-probabilities (samples, classes) that are rather sure of some labels."""
    return np.log(np.full((len(labels), classes), 0.05 / classes) + 0.95 * np.eye(classes)[labels.astype(int)])


def scoring(labels, classes: int = 10) -> Answering:
    """Answers scores."""
    look_up = table(labels)
    return Answering(lambda at, numbers: Answered(scores(look_up(numbers), classes)))


def silent(reason: str = "the door was shut", *, unfit: bool = False) -> Answering:
    """Never answers."""
    return Answering(lambda at, numbers: Unanswered(reason, unfit))


def every_second(labels) -> Answering:
    """Refuses every second request."""
    look_up = table(labels)
    return Answering(lambda at, numbers: Unanswered("busy") if at % 2 else Answered(look_up(numbers)))


def refusing_after(labels, requests: int) -> Answering:
    """Answers so many requests and no more."""
    look_up = table(labels)
    return Answering(lambda at, numbers: Answered(look_up(numbers)) if at < requests else Unanswered("enough"))


def fickle(labels, classes: int = 10) -> Answering:
    """Answers every second request with another class."""
    look_up = table(labels)
    return Answering(lambda at, numbers: Answered((look_up(numbers) + at % 2) % classes))


def turning(labels, at_request: int, *, first_scores: bool, classes: int = 10) -> Answering:
    """Turns from scores to labels, or the other way, at some request."""
    look_up = table(labels)

    def reply(at: int, numbers: np.ndarray) -> Response:
        told = look_up(numbers)
        return Answered(scores(told, classes) if (at < at_request) is first_scores else told)

    return Answering(reply)


def miscounting(labels, more: int) -> Answering:
    """Returns so many answers too many or too few."""
    look_up = table(labels)
    return Answering(lambda at, numbers: Answered(np.resize(look_up(numbers), max(0, len(numbers) + more))))
